// Goes through every candidate and says which text stands under which id: on the page, raw, in the preview, and behind
// its link.
import { address, open, say, shown } from "./chromium.mjs";

const ids = process.env.AVOCET_IDS.split(" ");
const { browser, page, seen } = await open();
// What the page calls while it draws fails where a text asks for it. Nothing of the page is changed.
await page.addInitScript(() => {
  const { toFixed } = Number.prototype;
  Number.prototype.toFixed = function (...digits) {
    if (+this === 0.666) throw new Error("a chip fails");
    return toFixed.apply(this, digits);
  };
  const { replaceChildren } = Element.prototype;
  Element.prototype.replaceChildren = function (...nodes) {
    if (nodes.some((node) => node.textContent?.includes("effect fails"))) throw new Error("an effect fails");
    return replaceChildren.apply(this, nodes);
  };
});
const current = () => [...document.querySelectorAll(".chip, .unshown code")].at(-1)?.textContent;
await page.addInitScript(`globalThis.current = ${current}`);
const texts = () =>
  page.evaluate(() => [...document.querySelectorAll(".conversation .text, .preview .text")].map((each) => each.textContent.trim()));
await page.goto(address);
for (const id of ids) {
  await page.waitForFunction((each) => current() === each, id);
  const drawn = await texts();
  say(["shown", id, drawn]);
  if (await page.locator(".chip").count()) {
    await page.keyboard.press("r");
    const raw = await texts();
    await page.keyboard.press("r");
    await page.keyboard.press("c");
    const preview = (await texts()).at(-1);
    say(["raw, preview", raw, preview]);
    await page.locator("textarea").press("Control+End");
    await page.keyboard.type("!");
    await page.waitForFunction(() => document.querySelector(".preview .text")?.textContent.trim().endsWith("!"));
    await page.keyboard.press("Escape");
  }
  await page.keyboard.press("s");
  await page.waitForFunction((each) => current() !== each, id);
}
for (const id of ids) {
  await page.goto(`${address}#/candidate?id=${id}`);
  await page.waitForFunction((each) => current() === each, id);
  say(["behind its link", id, await texts()]);
}
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
