// The page of a team: it asks for a token, keeps it in the tab alone, and works over TLS.
import { address, open, say } from "./chromium.mjs";

const { browser, page, seen } = await open();
await page.goto(address);
await page.waitForSelector("input[type=password]");
await page.locator("input[type=password]").fill(process.env.AVOCET_TYPED_TOKEN);
await page.getByRole("button", { name: "Use it" }).click();
await page.waitForSelector(".chip");
const shown = async () => (await page.locator(".chip").textContent()).trim();
say(["asked for a token", new URL(page.url()).search, await shown()]);
await page.locator("h2").focus();
await page.keyboard.press("c");
await page.keyboard.type("better");
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => document.querySelector(".chip")?.textContent.trim() !== "c0");
say(["approved", await shown()]);
await page.getByRole("button", { name: "Forget the token" }).click();
await page.waitForSelector("input[type=password]");
say(["forgotten", await page.evaluate(() => sessionStorage.getItem("avocet-token")), await page.locator(".chip").count()]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
