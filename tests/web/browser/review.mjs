// A reviewer with nothing but a keyboard. Each line that is said is checked by the test, at the server.
import { address, enter, goOn, next as nextOf, open, recordClaims, say, shown as shownOn } from "./chromium.mjs";

const { browser, page, seen } = await open();
const shown = () => shownOn(page);
const next = (from) => nextOf(page, from);
const press = (key) => page.keyboard.press(key);
const text = () => page.locator("textarea").inputValue();

const claims = await recordClaims(page);
await page.goto(address);
await enter(page);
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
  await text(),
  await page.locator("fieldset label").filter({ hasText: "wrong answer" }).locator("input").isChecked(),
]);
await press("Escape");
await press("d");
id = await next("c00");

// A draft is kept over a reload, and so is what can be undone.
await press("c");
await page.keyboard.press("Control+A");
await page.keyboard.type("a draft of mine d f s u");
await page.waitForFunction(() => document.body.textContent.includes("draft kept"));
await page.reload();
await page.waitForSelector("textarea");
say(["draft", await shown(), await text()]);
await page.locator("h2").focus();
await press("u");
await page.waitForFunction(() => document.querySelector(".chip")?.textContent.trim() === "c00");
say(["undone after a reload", await text()]);
await press("Escape");
await press("d");
id = await next("c00");
say(["its draft again", id, await text()]);

// The server restarts: the text stays, and the decision is stored once.
await goOn();
await page.locator("textarea").focus();
await press("Control+Enter");
await page.waitForFunction(() => document.body.textContent.includes("does not answer"));
say(["away", await text()]);
await goOn();
await page.waitForFunction(() => !document.body.textContent.includes("does not answer"));
await page.locator("textarea").focus();
await press("Control+Enter");
id = await next(id);
say(["stored after the restart", id]);

// Somebody else decides it.
say(["claims", await claims()]);
await goOn();
await press("d");
id = await next(id);
say(["conflict", id, await page.locator("[role=alert]").textContent()]);

// Somebody else holds it, after our claim has ended.
await press("c");
await page.keyboard.press("Control+A");
await page.keyboard.type("too late");
await page.waitForFunction(() => document.body.textContent.includes("draft kept"));
say(["typing", id, await claims()]);
await goOn();
await press("Control+Enter");
const lost = id;
id = await next(id);
say(["lost", id, await page.locator("[role=alert]").textContent()]);
say(["its draft", await page.evaluate((key) => JSON.parse(localStorage.getItem(key)).text, `avocet-draft:${lost}`)]);

// The rest: some are approved with a category, the others discarded and flagged.
await page.locator("h2").focus();
for (let turn = 0; id; turn += 1) {
  if (turn % 3 === 2) {
    await press("c");
    await page.keyboard.press("Control+End");
    await page.keyboard.type(" Better.");
    await press("Escape");
    await press(`${1 + (turn % 6)}`);
    await press("c");
    await press("Control+Enter");
  } else {
    await press(turn % 3 ? "f" : "d");
  }
  id = await next(id);
}
say(["done", await page.locator("h2").textContent()]);
await goOn();
await page.waitForFunction(() => document.body.textContent.includes("Nothing is left"));
say(["all done", await page.locator("h2").textContent()]);
await page.goto(`${address}#/stats`);
await page.waitForSelector("table");
say(["statistics", await page.locator("caption").allTextContents()]);
const expected = /Failed to load resource|net::ERR/;
say(["seen", seen.outside, seen.dialogs, seen.messages.filter((each) => !expected.test(each))]);
await browser.close();
process.exit(0);
