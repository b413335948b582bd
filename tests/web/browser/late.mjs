// Answers that come late, when the person has gone on already: none of them changes what is shown then. Each line that
// is said is one order of events. Each has candidates of its own, by their task type.
import { address, goOn, holdAnswers, next, open as openBrowser, say, shown } from "./chromium.mjs";

const { browser, page: first, seen } = await openBrowser();
await first.close();
const open = [];

/** A page in a context of its own, on the candidates of one task type. */
async function pageOf(task) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  open.push(context);
  page.setDefaultTimeout(Number(process.env.LATE_MS ?? 60_000));
  page.on("console", (message) => message.type() === "error" && seen.messages.push(message.text()));
  page.on("pageerror", (error) => seen.messages.push(String(error)));
  await page.clock.install();
  const answers = await holdAnswers(page);
  await page.goto(`${address}#/?task=${task}`);
  await page.waitForSelector(".chip");
  return { page, answers, press: (key) => page.keyboard.press(key), text: () => page.locator("textarea").inputValue() };
}

const told = (page, text) => page.waitForFunction((each) => document.body.textContent.includes(each), text);
const isShown = (page, id) => page.waitForFunction((each) => document.querySelector(".chip")?.textContent.trim() === each, id);

/** What is shown once the page has done all that the answers make it do. */
async function settled({ page, answers }) {
  await answers.quiet();
  const text = page.locator("textarea");
  return [await shown(page), (await text.count()) ? await text.inputValue() : null];
}

const SCENARIOS = {
  async "the next ones are read, undone meanwhile"(task) {
    const on = await pageOf(task);
    await on.press("c");
    await on.page.keyboard.type("mine");
    await on.answers.hold("Claim");
    await on.press("Control+Enter");
    await told(on.page, "Approved");
    await on.answers.arrived("Claim");
    await on.press("u");
    await on.page.waitForSelector("textarea");
    await told(on.page, "Undone");
    await on.answers.release("Claim");
    return settled(on);
  },
  async "the first ones are read, undone meanwhile after a reload"(task) {
    const on = await pageOf(task);
    await on.press("c");
    await on.page.keyboard.type("mine");
    await on.press("Control+Enter");
    await told(on.page, "Approved");
    await on.answers.holdAfterReload("Claim");
    await on.page.reload();
    await on.answers.arrived("Claim");
    await on.press("u");
    await on.page.waitForSelector("textarea");
    await on.answers.release("Claim");
    return settled(on);
  },
  async "a decision, undone before its answer"(task) {
    const on = await pageOf(task);
    await on.answers.hold("Submit");
    await on.press("d");
    await on.answers.arrived("Submit");
    await on.press("u");
    await on.answers.release("Submit");
    await told(on.page, "Undone");
    return settled(on);
  },
  async "a decision that fails, with an undo before its answer"(task) {
    const on = await pageOf(task);
    await on.press("d");
    await next(on.page, `${task}0`);
    await on.answers.hold("Submit");
    await on.press("d");
    await on.answers.arrived("Submit");
    await on.press("u");
    await on.answers.refuse("Submit");
    await on.page.waitForFunction(() => document.querySelector(".notice.wrong"));
    return settled(on);
  },
  async "a decision whose answer is lost, sent again"(task) {
    const on = await pageOf(task);
    await on.answers.hold("Submit");
    await on.press("d");
    await on.answers.arrived("Submit");
    await on.answers.refuse("Submit");
    await on.page.waitForFunction(() => document.querySelector(".notice.wrong"));
    await on.press("d");
    await told(on.page, "Discarded");
    return settled(on);
  },
  async "a decision, other filters before its answer"(task) {
    const on = await pageOf(task);
    await on.answers.hold("Submit");
    await on.press("d");
    await on.answers.arrived("Submit");
    await on.page.evaluate((other) => (location.hash = `#/?task=${other}`), `${task}-other`);
    await isShown(on.page, `${task}-other0`);
    await on.press("c");
    await on.page.keyboard.type("typed");
    await on.answers.release("Submit");
    await told(on.page, "Discarded");
    return settled(on);
  },
  async "a decision that somebody else was faster with, other filters before its answer"(task) {
    const on = await pageOf(task);
    await on.answers.hold("GetCandidate");
    say(["decide", `${task}0`, await on.answers.claims()]);
    await goOn();
    await on.press("d");
    await on.answers.arrived("GetCandidate");
    await on.page.evaluate((other) => (location.hash = `#/?task=${other}`), `${task}-other`);
    await isShown(on.page, `${task}-other0`);
    await on.press("c");
    await on.page.keyboard.type("typed");
    await on.answers.release("GetCandidate");
    await told(on.page, "Somebody else was faster");
    return settled(on);
  },
  async "two undos, the second before the first is answered"(task) {
    const on = await pageOf(task);
    for (const id of [`${task}0`, `${task}1`]) {
      await on.press("d");
      await next(on.page, id);
    }
    await on.answers.hold("Undo");
    await on.press("u");
    await on.answers.arrived("Undo");
    await on.press("u");
    await on.answers.release("Undo");
    await told(on.page, `Undone: ${task}0`);
    return settled(on);
  },
  async "a decision, a reload before its answer"(task) {
    const on = await pageOf(task);
    await on.press("c");
    await on.page.keyboard.type("mine");
    await on.press("Escape");
    await on.answers.hold("Submit");
    await on.press("d");
    await on.answers.arrived("Submit");
    await on.page.reload();
    await isShown(on.page, `${task}1`);
    await on.press("u");
    await isShown(on.page, `${task}0`);
    return settled(on);
  },
  async "the next ones are read, the last one skipped"(task) {
    const on = await pageOf(task);
    await on.press("c");
    await on.page.keyboard.type("mine");
    await on.press("Escape");
    await on.answers.hold("Claim");
    await on.press("s");
    await told(on.page, "Skipped");
    await on.answers.arrived("Claim");
    await on.press("s"); // nothing is shown that it could mean
    await on.answers.release("Claim");
    await on.page.waitForSelector(".chip");
    return settled(on);
  },
  async "a claim is told to be lost, skipped meanwhile"(task) {
    const on = await pageOf(task);
    await on.answers.hold("RenewClaims");
    say(["release", `${task}0`, await on.answers.claims()]);
    await goOn();
    await on.page.clock.fastForward(151_000);
    await on.answers.arrived("RenewClaims");
    await on.press("s");
    await next(on.page, `${task}0`);
    await on.press("c");
    await on.page.keyboard.type("typed");
    await on.answers.release("RenewClaims");
    const found = await settled(on);
    return [...found, await on.page.getByText("Your claim on this candidate has ended").count()];
  },
  async "a candidate that was looked up is held, typed meanwhile"(task) {
    const on = await pageOf(task);
    await on.page.evaluate((id) => (location.hash = `#/candidate?id=${id}`), `${task}1`);
    await on.page.getByRole("button", { name: "Review it" }).waitFor();
    await on.answers.hold("Claim");
    await on.page.getByRole("button", { name: "Review it" }).click();
    await isShown(on.page, `${task}1`);
    await on.press("c");
    await on.page.keyboard.type("typed");
    await on.answers.release("Claim");
    return settled(on);
  },
};

for (const [number, [name, run]] of Object.entries(SCENARIOS).entries()) {
  say([name, ...(await run(`t${number}`).catch((error) => ["failed", String(error)]))]);
  for (const context of open.splice(0)) await context.close();
}
say(["seen", seen.messages]);
await browser.close();
process.exit(0);
