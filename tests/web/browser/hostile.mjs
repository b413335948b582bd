// Opens a page whose candidate is hostile in every field, and says what ran and what left the origin.
import { address, harm, open, say } from "./chromium.mjs";

const { browser, page, seen } = await open();
await page.goto(address);
await page.waitForFunction(() => document.body.textContent.includes("hostile"));
if (process.env.AVOCET_CONTROL !== "1") {
  await page.keyboard.press("c");
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" x");
  await page.waitForSelector(".difference ins");
  await page.keyboard.press("Escape");
  await page.keyboard.press("r");
  await page.waitForSelector("pre.raw", { state: "attached" });
  await page.keyboard.press("r");
  for (const each of await page.locator("summary").all()) await each.click();
}
const elements = [];
const bad = "script, img, svg:not(.bar svg), iframe, object, embed, form:not([role=search]), style, [onerror], [onload], [onclick], [style], [src]";
async function look() {
  for (const link of await page.locator("main a").all()) {
    const href = await link.getAttribute("href");
    if (!/^(https?:|mailto:|#)/.test(href ?? "")) await link.click({ timeout: 1_000 }).catch(() => undefined);
  }
  await page.waitForTimeout(300);
  elements.push(...(await page.evaluate((query) => {
    return [...document.querySelectorAll("main " + query.split(", ").join(", main "))].map((each) => each.outerHTML);
  }, bad)));
}
await look();
// The other views show the same texts: in lists, tables, histories and notices.
for (const view of (process.env.AVOCET_VIEWS ?? "").split(" ").filter(Boolean)) {
  await page.goto(`${address}#/${view}`);
  await page.waitForFunction(() => document.querySelector("main").textContent.includes("hostile"));
  for (const summary of await page.locator("main summary").all()) await summary.click();
  await look();
}
say({ ...(await harm(page, seen)), elements, messages: seen.messages });
await browser.close();
process.exit(0);
