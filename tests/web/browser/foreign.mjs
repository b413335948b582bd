// A page of another origin that knows the address, and then a page whose own name leads to the address (DNS rebinding):
// both try to decide, and to read. It says what their scripts saw of the answers.
import { chromium, say } from "./chromium.mjs";

const { url, body, type, page: target, read } = JSON.parse(process.env.AVOCET_ATTACK);
// What this browser refuses by itself, others and older ones let pass.
const OWN_GUARDS = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights";
const browser = await chromium.launch({
  executablePath: process.env.AVOCET_CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP rebound.example 127.0.0.1", OWN_GUARDS],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true });

/** Send the decision as a page can send it, and a read; say what kind of answer the page gets, and with which status. */
async function tried(page, to) {
  return page.evaluate(async ({ url, body, type, read }) => {
    const types = [type, "text/plain", "application/x-www-form-urlencoded", "application/json", undefined];
    const bytes = new Uint8Array(body);
    const found = [];
    for (const mode of ["no-cors", "cors", "same-origin"]) {
      for (const each of types) {
        const headers = each ? { "content-type": each } : {};
        found.push(fetch(url, { method: "POST", body: bytes, mode, headers }));
      }
      found.push(fetch(read, { mode }));
    }
    return Promise.all(found.map((each) => each.then(({ type, status }) => `${type} ${status}`, () => "refused")));
  }, to);
}

// Another origin: fetches, a form whose body is plain text, and a frame.
const foreign = await context.newPage();
await foreign.goto(process.env.AVOCET_FOREIGN);
const cross = await tried(foreign, { url, body, type, read });
const answered = foreign.waitForResponse((each) => each.url() === url);
await foreign.evaluate(({ url, body }) => {
  const text = String.fromCharCode(...body);
  const form = Object.assign(document.createElement("form"), { action: url, method: "post", enctype: "text/plain" });
  const field = Object.assign(document.createElement("input"), { name: text.slice(0, 12), value: text.slice(13) });
  const frame = Object.assign(document.createElement("iframe"), { name: "into" });
  form.target = "into";
  form.append(field);
  document.body.append(frame, form);
  form.submit();
}, { url, body });
const form = (await answered).status();
await foreign.goto(process.env.AVOCET_FOREIGN);
const framed = foreign.waitForResponse((each) => each.url() === target);
await foreign.evaluate((src) => document.body.append(Object.assign(document.createElement("iframe"), { src })), target);
await framed;
await foreign.waitForLoadState("networkidle");
const frames = foreign.frames().slice(1).map((each) => each.url());

// A name that led to the attacker's own server when the page was loaded, and leads here since.
const elsewhere = (address) => {
  const moved = new URL(address);
  moved.hostname = "rebound.example";
  return moved.href;
};
const rebound = await context.newPage();
const document = new URL("/attack", elsewhere(target)).href;
await rebound.route(document, (route) => route.fulfill({ contentType: "text/html", body: "<p>from before</p>" }));
await rebound.goto(document);
const same = await tried(rebound, { url: elsewhere(url), body, type, read: elsewhere(read) });
say({ cross, form, frames, rebound: same });
await browser.close();
process.exit(0);
