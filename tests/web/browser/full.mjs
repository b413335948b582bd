// A disk that is full: decisions are refused, what is there is read on, and when there is room it all goes on.
import { address, goOn, next, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
page.setDefaultTimeout(90_000);
const BANNER = "The disk of the service is full";
const hasBanner = () => page.evaluate((text) => document.body.textContent.includes(text), BANNER);
await page.goto(address);
await page.waitForSelector(".chip");
say("open");
await goOn();
// The last blocks of a full disk may still take a decision or two.
const decided = [];
let id = await shown(page);
while (!(await hasBanner())) {
  await page.keyboard.press("c");
  await page.keyboard.type("mine");
  await page.keyboard.press("Control+Enter");
  await page.waitForFunction(
    ([text, from]) => document.body.textContent.includes(text) || document.querySelector(".chip")?.textContent.trim() !== from,
    [BANNER, id],
  );
  if (!(await hasBanner())) {
    decided.push(id);
    id = await shown(page);
  }
}
say(["full", decided, await page.locator("textarea").inputValue()]);
// More than were read ahead.
const read = [];
await page.keyboard.press("Escape");
for (let turn = 0; turn < 15; turn += 1) {
  await page.keyboard.press("s");
  id = await next(page, id);
  read.push(id);
}
say(["read on", new Set(read).size, await hasBanner()]);
await goOn();
await page.keyboard.press("d");
const last = id;
id = await next(page, id);
say(["there is room", last, await hasBanner()]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
