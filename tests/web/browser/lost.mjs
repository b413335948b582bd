// A claim that ends while somebody types: the page says so at the next renewal, and keeps the text.
import { address, goOn, open, recordClaims, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
const claims = await recordClaims(page);
await page.clock.install();
await page.goto(address);
await page.waitForSelector(".chip");
const id = await shown(page);
await page.keyboard.press("c");
await page.keyboard.press("Control+End");
await page.keyboard.type(" more");
say([id, await claims()]);
await goOn();
await page.clock.fastForward(151_000);
await page.waitForFunction(() => document.body.textContent.includes("Your claim on this candidate has ended"));
say(["told", await page.locator("textarea").inputValue()]);
await goOn();
await page.getByRole("button", { name: "Claim it again" }).click();
await page.waitForFunction(() => !document.body.textContent.includes("Your claim on this candidate has ended"));
say(["again", await shown(page), await page.locator("textarea").inputValue()]);
await page.locator("textarea").focus();
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => document.body.textContent.includes("Approved"));
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
