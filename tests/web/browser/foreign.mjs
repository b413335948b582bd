// A page of another origin that knows the address, key included, and tries to decide.
import { address, open, say } from "./chromium.mjs";

const { browser, page } = await open();
await page.goto(process.env.AVOCET_FOREIGN);
const tried = await page.evaluate(async (target) => {
  const body = new Uint8Array(JSON.parse(target.body));
  const outcomes = [];
  for (const init of [
    { mode: "no-cors", headers: { "content-type": "application/grpc-web+proto" } },
    { mode: "no-cors", headers: { "content-type": "text/plain" } },
    { mode: "cors", headers: { "content-type": "application/grpc-web+proto" } },
    { mode: "no-cors" },
  ]) {
    outcomes.push(await fetch(target.url, { method: "POST", body, ...init }).then((answer) => answer.type, () => "refused"));
  }
  const frame = document.createElement("iframe");
  frame.src = target.page;
  document.body.append(frame);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return outcomes;
}, { url: process.env.AVOCET_TARGET, body: process.env.AVOCET_BODY, page: address });
const framed = page.frames().slice(1).map((each) => each.url());
say([tried, framed]);
await browser.close();
process.exit(0);
