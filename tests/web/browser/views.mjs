// Everything beside the review: uploads, search, one candidate with its history, decided ones, figures, snapshots.
import { address, next, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
const has = (text) => page.waitForFunction((each) => document.body.textContent.includes(each), text);
const go = async (view, title) => {
  await page.goto(`${address}#/${view}`);
  await page.waitForFunction((each) => document.querySelector("h2")?.textContent === each, title);
};

// A run of this machine, with a malformed line; then the same again.
await page.goto(`${address}#/runs`);
await has("On this machine");
const lines = ["a", "b", "c", "d"].map((id) => JSON.stringify({
  id, status: "needs_review", model_name: id < "c" ? "Heron" : "Stork", task_type: "sum",
  prompt_messages: [{ role: "user", content: `Needle ${id}?` }], model_response: `answer ${id}`,
}));
const buffer = Buffer.from(`${lines.join("\n")}\nnot JSON\n`);
for (const turn of [1, 2]) {
  await page.locator("input[type=file]").setInputFiles({ name: "night.jsonl", mimeType: "text/plain", buffer });
  await page.getByRole("button", { name: "Send and import" }).click();
  await has(turn === 1 ? "night: 4 imported" : "night: 0 imported, 4 known already");
  say(["upload", await page.locator("main [role=status]").textContent(), await page.locator("table th").allTextContents()]);
}
await page.locator("li", { hasText: "2026-01-01" }).getByRole("button").click();
await has("2026-01-01: 1 imported");
await has("imported already");
say(["import", await page.locator("li", { hasText: "2026-01-01" }).textContent()]);

// A filter from the figures, and by category; what is decided there.
await go("stats", "Statistics");
await page.getByRole("link", { name: "Stork" }).click();
await page.waitForSelector(".chip");
say(["filtered", new URL(page.url()).hash, await shown(page)]);
await page.keyboard.press("6");
await page.keyboard.press("f");
await next(page, "c");
await page.keyboard.press("d");
await has("No candidate matches");
await page.goto(`${address}#/?category=hallucination`);
await has("No candidate matches");
say(["by category", await page.locator("h2").textContent()]);

// Search, in any case and of any status; then one candidate with its history.
await go("search", "Search");
await page.getByLabel("text in prompt").fill("needle");
await page.keyboard.press("Enter");
await has("4 found");
say(["found", await page.locator("main li a").allTextContents()]);
await page.getByLabel("status").selectOption("model rejected");
await has("1 found");
await page.getByRole("link", { name: "c", exact: true }).click();
await page.waitForSelector("section[aria-label=History] li");
say(["history", (await page.locator("section[aria-label=History] li").allTextContents()).map((each) => each.split(" ")[0])]);
await page.locator("section[aria-label=History] summary").first().click();
say(["fields", (await page.locator("section[aria-label=History] dt").allTextContents()).sort()]);

// Decided, as the service keeps it: undone from there, after a reload, too.
await go("decided", "Decided");
await page.reload();
await page.waitForSelector("main li");
say(["decided", (await page.locator("main li").allTextContents()).map((each) => each.split(" ").slice(0, 2))]);
await page.locator("main li", { hasText: "flagged c" }).getByRole("button").click();
await has("Undone: c");
await page.waitForFunction(() => document.querySelector("main li")?.textContent.startsWith("undone c"));
say(["after the undo", (await page.locator("main li").allTextContents()).map((each) => each.split(" ").slice(0, 2))]);
say(["left to undo", await page.evaluate(() => JSON.parse(sessionStorage.getItem("avocet-decided")).map(({ id }) => id))]);

// A candidate that was looked up is reviewed.
await page.getByRole("link", { name: "c", exact: true }).first().click();
await page.getByRole("button", { name: "Review it" }).click();
await page.waitForSelector("[aria-label=Decision]"); // the page of the candidate has no decision, but the same chip
say(["reviewed", new URL(page.url()).hash, await shown(page)]);
await page.keyboard.press("c");
await page.keyboard.press("Control+End");
await page.keyboard.type("!");
await page.keyboard.press("Control+Enter");
await has("Approved: c");

// A snapshot, taken twice, and deleted.
await go("snapshots", "Snapshots");
for (const told of ["Made: monday", "monday"]) {
  await page.getByLabel("name").fill("monday");
  await page.getByRole("button", { name: "Name what is approved now" }).click();
  await has(told);
}
await page.waitForSelector("main li");
say(["snapshot", (await page.locator("main li").textContent()).split(",")[0]]);
page.removeAllListeners("dialog");
page.on("dialog", (dialog) => dialog.accept());
await page.getByRole("button", { name: "Delete" }).click();
await has("There are none yet");
say(["seen", seen.outside, seen.messages]);
await browser.close();
process.exit(0);
