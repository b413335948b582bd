// Goes through every candidate, drawn and raw, with the editor and its difference, and says how long each step took.
import { address, open, say } from "./chromium.mjs";

const { browser, page, seen } = await open();
const response = () => page.evaluate(() => [...document.querySelectorAll(".conversation .text")].at(-1).textContent.trim().length);
const ids = process.env.AVOCET_IDS.split(" ");
const took = {};
async function timed(name, step) {
  const began = Date.now();
  await step();
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn, 0))));
  took[name] = Date.now() - began;
}
await page.goto(address);
for (const id of ids) {
  await timed("show", () => page.waitForFunction((each) => document.querySelector(".chip")?.textContent.trim() === each, id));
  say(["shown", id, await response()]);
  await timed("raw", () => page.keyboard.press("r"));
  await timed("rendered", () => page.keyboard.press("r"));
  await timed("edit", () => page.keyboard.press("c"));
  await timed("type", async () => {
    await page.locator("textarea").press("Control+End");
    await page.keyboard.type("!");
    await page.waitForFunction(() => document.querySelector(".preview .text")?.textContent.trim().endsWith("!"));
  });
  await timed("close", () => page.keyboard.press("Escape"));
  await timed("skip", () => page.keyboard.press("s"));
  say(["took", took]);
}
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
