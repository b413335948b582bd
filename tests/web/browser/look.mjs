// What everybody should be able to see: axe-core finds nothing, and nothing is wider than the screen.
import { address, axe, open, say } from "./chromium.mjs";

/** What axe-core finds. Playwright's evaluation is not bound by the page's policy, and so neither is axe. */
async function violations(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
}

/** The pictures of the page on browsers; the test gives a directory if they are wanted. */
const PICTURES = {
  "light-1280": { "": "light-1280", "#/decided": "decided-1280", "#/candidate?id=c49": "candidate-1280" },
  "dark-390": { "": "dark-390" },
};
async function picture(page, kind, view) {
  const name = PICTURES[kind]?.[view];
  if (process.env.AVOCET_SCREENSHOTS && name) {
    await page.waitForTimeout(300);
    await page.screenshot({ path: `${process.env.AVOCET_SCREENSHOTS}/${name}.png` });
  }
}

const VIEWS = ["", "#/stats", "#/decided", "#/search?text=sky", "#/runs", "#/snapshots", "#/candidate?id=c49"];
for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 760 }]) {
    const { browser, page, seen } = await open({ colorScheme, viewport });
    for (const view of VIEWS) {
      await page.goto(address + view);
      await page.waitForSelector("h2");
      if (view === "") {
        await page.keyboard.press("c");
        await page.keyboard.press("Control+End");
        await page.keyboard.type("- and blue light scatters most");
        await page.waitForSelector(".difference ins");
      }
      const found = await violations(page);
      await picture(page, `${colorScheme}-${viewport.width}`, view);
      if (view === "") {
        await page.keyboard.press("Escape");
        await page.keyboard.press("/");
        await page.waitForSelector(".filters");
        await page.keyboard.press("?");
        await page.waitForSelector("dialog[open]");
        found.push(...(await violations(page)));
        await page.keyboard.press("Escape");
        await page.waitForSelector("dialog[open]", { state: "detached" });
        found.push(...(await violations(page)));
      }
      const small = await page.evaluate(() => {
        const targets = document.querySelectorAll("button, select, input:not([type=radio], [type=checkbox]), summary, nav a");
        return [...targets]
          .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 44)
          .map((each) => each.outerHTML);
      });
      const bar = await page.evaluate(() => document.querySelector(".actions")?.getBoundingClientRect().bottom ?? 0);
      if (bar > viewport.height) found.push("the actions are not on the screen");
      const tooWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      say([colorScheme, viewport.width, view, [...found, ...small], tooWide, seen.messages]);
    }
    await browser.close();
  }
}
process.exit(0);
