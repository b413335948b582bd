// Decides what it is shown, by keys alone, until nothing is left; says which candidates those were.
import { address, enter, goOn, next, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
await page.goto(address);
await enter(page);
await page.waitForSelector(".chip");
say("ready");
await goOn();
const met = [];
for (let id = await shown(page); id; id = await next(page, id)) {
  met.push(id);
  await page.keyboard.press(met.length % 2 ? "d" : "f");
}
await page.waitForFunction(() => document.body.textContent.includes("Nothing is left"));
say(met);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
