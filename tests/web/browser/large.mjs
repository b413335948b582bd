// Texts of 100 kB, the second wholly different from the first: the page compares, types on and decides.
import { address, open, say } from "./chromium.mjs";

const { browser, page, seen } = await open();
await page.goto(address);
await page.waitForSelector(".chip");
await page.keyboard.press("c");
await page.keyboard.press("Control+End");
await page.keyboard.type("!");
await page.waitForSelector(".difference ins");
await page.waitForFunction(() => document.querySelector(".preview .text")?.textContent.trim().endsWith("!"));
await page.locator("textarea").focus();
say(["few changes", await page.locator(".difference ins").count()]);
await page.keyboard.press("Escape");
await page.keyboard.press("r");
await page.waitForSelector("pre.raw", { state: "attached" });
await page.keyboard.press("c");
const other = Array.from({ length: 100_000 / 8 }, (_, n) => (n * 7_919).toString(36).padStart(7, "q")).join(" ");
await page.locator("textarea").fill(other);
await page.waitForFunction((text) => {
  const found = document.querySelector(".difference ins")?.textContent.includes(text);
  return found || document.body.textContent.includes("too different");
}, other.slice(0, 7));
await page.locator("textarea").focus();
await page.keyboard.press("Control+End");
await page.keyboard.type(" and more");
const typed = (await page.locator("textarea").inputValue()).endsWith(" and more");
await page.keyboard.press("Control+Enter");
await page.waitForFunction(() => document.body.textContent.includes("Nothing is left"));
say(["approved", typed]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
