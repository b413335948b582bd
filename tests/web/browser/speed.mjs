// Measures, on this machine: from opening the page to the first candidate, and the frames while 100 kB are edited.
import { address, open, say } from "./chromium.mjs";

const { browser, page } = await open();
const firstCandidateMs = [];
for (let round = 0; round < 10; round += 1) {
  await page.goto("about:blank");
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (document.querySelector(".chip")) {
        window.shownAfter = performance.now();
        observer.disconnect();
      }
    }).observe(document, { childList: true, subtree: true });
  });
  await page.goto(address);
  await page.waitForFunction(() => window.shownAfter);
  firstCandidateMs.push(Math.round(await page.evaluate(() => window.shownAfter)));
}
await page.keyboard.press("c");
await page.keyboard.press("Control+End");
await page.evaluate(() => {
  window.frames_ = [];
  let before = performance.now();
  const frame = (now) => {
    window.frames_.push(now - before);
    before = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
});
await page.keyboard.type(" the quick brown fox jumps over the lazy dog", { delay: 60 });
const frames = (await page.evaluate(() => window.frames_)).sort((one, other) => one - other);
const at = (share) => Math.round(frames[Math.floor(share * (frames.length - 1))]);
const typed = (await page.locator("textarea").inputValue()).endsWith("lazy dog");
say({ firstCandidateMs, frames: frames.length, medianMs: at(0.5), p95Ms: at(0.95), longestMs: at(1), typed });
await browser.close();
process.exit(0);
