// Keys that come all in one turn of the page, as from a keyboard that is faster than it: none of them decides anything.
import { address, open, say } from "./chromium.mjs";

const { browser, page } = await open();
await page.goto(address);
await page.waitForSelector(".chip");
await page.evaluate(() => {
  for (const key of "cdfsu") {
    const target = document.activeElement;
    const isTaken = !target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    if (!isTaken && target instanceof HTMLTextAreaElement) {
      target.value += key;
      target.dispatchEvent(new InputEvent("input", { bubbles: true }));
    }
  }
});
say([await page.locator("textarea").inputValue(), (await page.locator(".chip").textContent()).trim()]);
await browser.close();
process.exit(0);
