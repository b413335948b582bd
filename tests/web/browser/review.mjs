// A reviewer with nothing but a keyboard. Each line that is said is checked by the test, at the server.
import { address, goOn, open, say } from "./chromium.mjs";

const { browser, page, seen } = await open();
const shown = async () => (await page.locator(".chip").textContent()).trim();
const press = (key) => page.keyboard.press(key);
const next = async (from) => {
  await page.waitForFunction((id) => {
    const chip = document.querySelector(".chip");
    return chip && chip.textContent.trim() !== id;
  }, from);
  return shown();
};

await page.goto(address);
await page.waitForSelector(".chip");
say(["first", await shown(), await page.locator("h2").evaluate((heading) => heading === document.activeElement)]);

// Correct with a difference and a category.
await press("c");
await page.keyboard.press("Control+End");
await page.keyboard.type(" And blue light scatters most.");
await page.waitForSelector(".difference ins");
say(["difference", await page.locator(".difference ins").allTextContents()]);
await press("Escape");
await press("4");
await press("c");
await press("Control+Enter");
let id = await next("c00");
say(["corrected", id]);

// Discard, flag, skip.
await press("d");
id = await next(id);
await press("f");
id = await next(id);
await press("s");
const skipped = id;
id = await next(id);
say(["skipped", skipped, id]);

// Undo over several steps: the flag, the discard, the correction with its text and category.
for (const expected of ["c02", "c01", "c00"]) {
  await press("u");
  await page.waitForFunction((id) => document.querySelector(".chip")?.textContent.trim() === id, expected);
}
say([
  "undone",
  await page.locator("textarea").inputValue(),
  await page.locator("fieldset label").filter({ hasText: "wrong answer" }).locator("input").isChecked(),
]);
await press("Escape");
await press("d");
id = await next("c00");

// A draft is kept over a reload.
await press("c");
await page.keyboard.press("Control+A");
await page.keyboard.type("a draft of mine d f s u");
await page.waitForFunction(() => document.body.textContent.includes("draft kept"));
await page.reload();
await page.waitForSelector("textarea");
say(["draft", await shown(), await page.locator("textarea").inputValue()]);

// The server restarts: the text stays, and the decision is stored once.
await goOn();
await page.locator("textarea").focus();
await press("Control+Enter");
await page.waitForFunction(() => document.body.textContent.includes("does not answer"));
say(["away", await page.locator("textarea").inputValue()]);
await goOn();
await page.waitForFunction(() => !document.body.textContent.includes("does not answer"));
await page.locator("textarea").focus();
await press("Control+Enter");
id = await next(id);
say(["stored after the restart", id]);

// Somebody else is faster.
await goOn();
await press("d");
id = await next(id);
say(["conflict", id, await page.locator("[role=alert]").textContent()]);

// The rest.
for (let turn = 0; (await page.locator(".chip").count()) > 0; turn += 1) {
  id = await shown();
  await press(turn % 2 ? "f" : "d");
  await page.waitForFunction((was) => document.querySelector(".chip")?.textContent.trim() !== was, id);
  await page.waitForFunction(() => document.querySelector(".chip") || document.body.textContent.includes("Nothing is left"));
}
say(["done", await page.locator("h2").textContent()]);
await page.goto(`${address}#/stats`);
await page.waitForSelector("table");
say(["statistics", await page.locator("caption").allTextContents()]);
say(["seen", seen.outside, seen.dialogs, seen.messages.filter((text) => !text.includes("Failed to load resource"))]);
await browser.close();
process.exit(0);
