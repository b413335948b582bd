// How many candidates are held: at first, with four left beside the one that is shown, and with three.
import { address, goOn, holdAnswers, next, open, say, shown } from "./chromium.mjs";

const { browser, page } = await open();
const answers = await holdAnswers(page);
await page.goto(address);
await page.waitForSelector(".chip");
for (const decisions of [0, 5, 1]) {
  for (let turn = 0; turn < decisions; turn += 1) {
    const id = await shown(page);
    await page.keyboard.press("d");
    await next(page, id);
  }
  await answers.quiet();
  say("settled");
  await goOn();
}
await page.goto(`${address}app.css`);
say("left");
await goOn();
await browser.close();
process.exit(0);
