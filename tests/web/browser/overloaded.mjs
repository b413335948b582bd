// A service with too many calls: the page waits as long as it is told to, and goes on by itself, reading and deciding.
import { address, goOn, holdAnswers, open, say, shown } from "./chromium.mjs";

const { browser, page, seen } = await open();
const answers = await holdAnswers(page);
page.setDefaultTimeout(90_000);
const told = (text) => page.waitForFunction((each) => document.body.textContent.includes(each), text);
say("ready");
await goOn();
await page.goto(address);
await told("The page tries again in");
say(["nothing is read", await page.locator(".chip").count()]);
await goOn();
await page.waitForSelector(".chip");
const id = await shown(page);
await page.keyboard.press("c");
await page.keyboard.type("mine");
await answers.quiet(); // what the page reads ahead would end, and leave a place for the decision
say(["read", id]);
await goOn();
await page.keyboard.press("Control+Enter");
await told("The page tries again in");
say(["waits", await shown(page), await page.locator("textarea").inputValue()]);
await goOn();
await told(`Approved: ${id}`);
say(["stored", await shown(page)]);
say(["seen", seen.outside, seen.dialogs, seen.messages]);
await browser.close();
process.exit(0);
