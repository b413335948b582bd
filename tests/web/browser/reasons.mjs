// What the page says and does for each reason with which a decision may be refused, and then for those of other calls.
import { address, goOn, open, say, shown } from "./chromium.mjs";

const { browser, page } = await open();
page.setDefaultTimeout(60_000);
const told = (text) => page.waitForFunction((each) => document.body.textContent.includes(each), text);
const alert = async () => (await page.locator("[role=alert]").allTextContents()).join(" ").trim();

await page.goto(address);
for (const { told: sentence, repeats } of JSON.parse(process.env.AVOCET_DECISIONS)) {
  await page.waitForSelector(".chip");
  await page.locator("h2").focus();
  await page.keyboard.press("c");
  await page.keyboard.press("Control+End");
  await page.keyboard.type(" mine");
  const id = await shown(page);
  say(["ready", id]);
  await goOn();
  await page.keyboard.press("Control+Enter");
  await told(sentence);
  await page.waitForFunction(() => !document.querySelector("textarea")?.readOnly || /tries again/.test(document.body.textContent));
  say({
    alert: await alert(),
    fault: await page.locator(".fault").textContent(),
    asksForToken: (await page.locator("input[type=password]").count()) > 0,
    copies: await page.getByRole("button", { name: "Copy the id", exact: true }).and(page.locator("[role=alert] button")).count(),
    kept: [await shown(page), await page.locator("textarea").inputValue()],
  });
  await goOn();
  if (!repeats) {
    // The page has noticed by itself that the service is there again.
    await page.waitForFunction(() => !document.body.textContent.includes("does not answer"));
    await page.locator("textarea").focus();
    await page.keyboard.press("Control+Enter");
  }
  await told(`Approved: ${id}`);
  say([await alert(), await page.locator("input[type=password]").count()]);
}
for (const { hash, button, fill, told: sentence } of JSON.parse(process.env.AVOCET_VIEWS)) {
  say(["ready", hash]);
  await goOn();
  await page.goto("about:blank");
  await page.goto(`${address}${hash}`);
  if (fill) await page.getByLabel("name").fill(fill);
  if (button) {
    page.removeAllListeners("dialog");
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: button }).first().click();
  }
  await told(sentence);
  say(["told", hash]);
}
await browser.close();
process.exit(0);
