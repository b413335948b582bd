// A page that is closed as people close it.
import { address, goOn, open, say } from "./chromium.mjs";

const { browser, page } = await open();
await page.goto(address);
await page.waitForSelector(".chip");
say("open");
await goOn();
await page.close({ runBeforeUnload: true });
say("closed");
await goOn();
await browser.close();
process.exit(0);
