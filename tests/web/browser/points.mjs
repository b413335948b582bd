// What the page promises in detail. Each line that is said is one promise; the test has what it must say.
import { address, holdAnswers, next, open, say, shown } from "./chromium.mjs";

const { browser, context, page, seen } = await open();
page.setDefaultTimeout(60_000);
await context.grantPermissions(["clipboard-read", "clipboard-write"]);
const answers = await holdAnswers(page);
const press = (key) => page.keyboard.press(key);
const box = (selector) => page.locator(selector).first().boundingBox();

// A skeleton, after 200 ms and not before.
await page.goto(`${address}#/stats`);
await page.waitForSelector("table");
await answers.holdAfterReload("Claim");
await page.goto(address);
await answers.arrived();
const skeleton = await page.evaluate(() => {
  const element = document.querySelector(".skeleton");
  const [appears] = element.getAnimations().filter((each) => each.animationName === "appear");
  appears.pause();
  return [199, 200].map((time) => {
    appears.currentTime = time;
    return getComputedStyle(element).visibility;
  });
});
say(["skeleton", ...skeleton, await page.locator(".skeleton .unseen").textContent()]);
await answers.release("Claim");
await page.waitForSelector(".chip");
say(["then", await page.locator(".skeleton").count(), await shown(page)]);

// What is known about it, the id with a copy, the system prompt folded, a link that shows where it leads, trailing blanks.
say(["chips", (await page.locator(".chips li").allTextContents()).map((each) => each.trim())]);
await page.locator(".chip").click();
say(["copied", await page.evaluate(() => navigator.clipboard.readText())]);
say(["system prompt", await page.locator("details.message").getAttribute("open"), await page.getByText("Be brief.").isVisible()]);
const link = page.locator(".conversation a");
say(["link", await link.getAttribute("rel"), await page.locator(".conversation small").textContent()]);
await page.locator("h2").focus();
await press("r");
say(["raw", (await page.locator("pre.raw").last().textContent()).includes("End.··")]);
await press("r");
say(["a long block scrolls by itself", (await page.locator(".conversation .text").nth(1).boundingBox()).height <= 386]);

// Keys that must do nothing: with a modifier, on repeat, in a dialog, in a field.
await press("Alt+d");
await press("Shift+Control+f");
await page.evaluate(() => {
  const event = (init) => document.body.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...init }));
  event({ key: "d", repeat: true });
  event({ key: "d", metaKey: true });
  event({ key: "d", ctrlKey: true });
});
await press("?");
await page.waitForSelector("dialog[open]");
await press("d");
await press("u");
await press("Escape");
await page.waitForSelector("dialog[open]", { state: "detached" });
await answers.quiet();
say(["nothing was decided", await shown(page), await page.locator("[role=status] .notice").count()]);
await page.locator("h2").focus();
await press("j");
await page.waitForFunction(() => scrollY > 0);
await press("k");
await page.waitForFunction(() => scrollY === 0);

// Enter edits; the preview is the other half of the screen, at the height of the editor.
await press("Enter");
await page.waitForSelector("textarea");
await press("Control+End");
await page.keyboard.type("**bold**");
await page.waitForSelector(".preview strong");
const [preview, editor, actions] = [await box(".preview"), await box("textarea"), await box(".actions")];
say(["preview", preview.x + preview.width <= editor.x, Math.abs(preview.y - (await box(".correction")).y) < 2]);
say(["halves", Math.abs(preview.width / editor.width - 1) < 0.1, actions.y + actions.height <= 800]);
const before = editor.height;
await page.keyboard.type("\n".repeat(8));
await page.waitForFunction((height) => document.querySelector("textarea").getBoundingClientRect().height > height, before);
await page.waitForFunction(() => document.body.textContent.includes("draft kept"));

// A draft of an older version is offered, and not put in.
await page.goto(`${address}app.css`); // nothing but the origin's storage
await page.evaluate(() => {
  for (const key of Object.keys(localStorage).filter((each) => each.startsWith("avocet-draft:"))) {
    localStorage.setItem(key, JSON.stringify({ ...JSON.parse(localStorage.getItem(key)), revision: "1", text: "older" }));
  }
});
await page.goto(address);
await page.getByText("There is a draft of an older version").waitFor();
say(["older draft", await page.locator("textarea").count()]);
await page.getByRole("button", { name: "Use it" }).click();
say(["used", await page.locator("textarea").inputValue()]);
await press("Escape");

// Ten are read ahead: the next one shows before anything new is read.
await answers.hold("Claim");
const passed = [];
for (let turn = 0; turn < 9; turn += 1) {
  const id = await shown(page);
  await page.locator("h2").focus();
  await press("s");
  passed.push(await next(page, id));
}
say(["read ahead", passed]);
await answers.release("Claim");

// Filters and order stand in the address, and a reload keeps them.
await page.keyboard.press("/");
await page.getByLabel("task type").selectOption("sum");
await page.getByLabel("order").selectOption("timestamp");
await page.waitForFunction(() => /task=sum/.test(location.hash) && /order=/.test(location.hash));
await page.waitForFunction(() => document.querySelector(".chip")?.textContent.trim() === "p00");
const hash = await page.evaluate(() => location.hash);
await page.reload();
await page.waitForSelector(".chip");
say(["filters", (await page.evaluate(() => location.hash)) === hash, await shown(page)]);
await page.locator("h2").focus(); // its draft has opened the editor
await press("d");
await page.getByText("No candidate matches").waitFor();
await page.locator("header").getByRole("button", { name: "Undo" }).click();
await page.waitForSelector(".chip");
say(["undone from the header", await shown(page), await page.locator("header").getByRole("button", { name: "Undo" }).count()]);
await page.locator("h2").focus();
await press("d");
await page.getByText("No candidate matches").waitFor();
await page.getByRole("link", { name: "Clear the filters" }).click();
await page.waitForSelector(".chip");
say(["cleared", await page.evaluate(() => location.hash)]);
await page.goBack();
await page.getByText("No candidate matches").waitFor();
say(["back", /task=sum/.test(await page.evaluate(() => location.hash))]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
