// A disk on which no claim fits: what is in review is read all the same, and says so.
import { address, goOn, next, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
page.setDefaultTimeout(60_000);
const hasBanner = () => page.evaluate(() => document.body.textContent.includes("The disk of the service is full"));
await page.goto(address);
await page.waitForSelector(".chip");
let id = await shown(page);
const read = [id];
for (let turn = 0; turn < 11; turn += 1) {
  await page.keyboard.press("s");
  id = await next(page, id);
  read.push(id);
}
say(["read", read, await hasBanner()]);
await goOn();
await page.keyboard.press("d");
await page.waitForFunction((each) => document.body.textContent.includes(`Discarded: ${each}`), id);
say(["decided", id, await hasBanner()]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
