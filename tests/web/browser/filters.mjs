// Each filter by its field, colours and motion, long lists read on, and what stands where nothing is left to review.
import { address, next, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open({ reducedMotion: "no-preference" });
/** The page is drawn once more, as it is when an answer comes while somebody types. */
const drawn = () =>
  page.evaluate(() => new Promise((done) => {
    dispatchEvent(new HashChangeEvent("hashchange"));
    requestAnimationFrame(() => setTimeout(done));
  }));
const has = (text) => page.waitForFunction((each) => document.body.textContent.includes(each), text);

await page.goto(address);
await page.waitForSelector(".chip");
await page.keyboard.press("/");
const filters = page.getByRole("search", { name: "Filters" });
for (const [label, value] of [["run", "night"], ["source", "field"], ["score from", "0.75"], ["to", "0.25"]]) {
  const field = filters.locator("label", { hasText: new RegExp(`^\\s*${label}`) }).locator("select, input");
  if (label === "source") await field.selectOption(value);
  else {
    await field.fill(value);
    await drawn();
    await field.blur();
  }
  await page.waitForFunction(() => location.hash !== "#/");
  say([label, new URL(page.url()).hash, await filteredTo()]);
  await page.goto(`${address}#/`);
  await page.waitForFunction(() => location.hash === "#/");
}

/** The one candidate that passes. */
async function filteredTo() {
  const wanted = { "#/?run=night": "n", "#/?source=field": "f", "#/?min=0.75": "h", "#/?max=0.25": "l" };
  const id = wanted[new URL(page.url()).hash];
  await page.waitForFunction((each) => document.querySelector(".chip")?.textContent.trim() === each, id);
  return shown(page);
}

// The reviewer's name, too, is what was typed.
const you = page.locator("label.you input");
for (const name of ["robin", "  "]) {
  await you.fill(name);
  await drawn();
  await you.blur();
  await page.waitForFunction(() => document.querySelector("label.you input").value === "robin");
}
say(["you", await page.evaluate(() => localStorage.getItem("avocet-reviewer"))]);

// Colours go from the system's to dark, light and back, and outlive a reload.
const background = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
for (const name of ["Colours: as the system", "Colours: dark", "Colours: light"]) {
  await page.getByRole("button", { name }).click();
  await page.reload();
  await page.waitForSelector(".chip");
  say(["colours", await page.evaluate(() => document.documentElement.dataset.theme), await background()]);
}

// Who wants no motion sees none: what would move is put on the page for a moment.
const moves = () =>
  page.evaluate(() => {
    const skeleton = document.createElement("div");
    skeleton.className = "skeleton";
    skeleton.append(document.createElement("div"));
    document.body.append(skeleton);
    const name = getComputedStyle(skeleton.firstChild).animationName;
    skeleton.remove();
    return name;
  });
const before = await moves();
await page.emulateMedia({ reducedMotion: "reduce" });
say(["motion", before, await moves()]);

// A long list goes on by its button, to its end.
await page.goto(`${address}#/runs`);
await has("run-24");
const rows = page.locator("main ul.rows li");
const counts = [await rows.count()];
await page.getByRole("button", { name: "More" }).click();
await page.waitForFunction((count) => document.querySelectorAll("main ul.rows li").length > count, counts[0]);
counts.push(await rows.count());
say(["runs", counts, await page.getByRole("button", { name: "More" }).count()]);

// All is decided: what is said then leads on.
await page.goto(`${address}#/`);
await page.waitForSelector(".chip");
for (let id = await shown(page); id; id = await next(page, id)) await page.keyboard.press("d");
await has("Nothing is left to review");
await has("avocet export");
say(["the end", await page.locator("main p").allTextContents(), await page.getByRole("link", { name: "Import a benchmark run" }).getAttribute("href")]);
say(["seen", seen.outside, seen.messages]);
await browser.close();
process.exit(0);
