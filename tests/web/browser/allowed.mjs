// A page of another origin calls the legacy interface as a page may: it reads, changes, and sends a token. It says what
// its script saw of each answer.
import { chromium, say } from "./chromium.mjs";

const browser = await chromium.launch({
  executablePath: process.env.AVOCET_CHROMIUM,
  // What this browser asks a person about by itself, others and older ones let pass.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks"],
});
const page = await (await browser.newContext()).newPage();
await page.goto(process.env.AVOCET_FOREIGN);
say(
  await page.evaluate(async ({ api, secret }) => {
    const json = { "content-type": "application/json" };
    const post = (body, headers = {}) => ({ method: "POST", headers: { ...json, ...headers }, body: JSON.stringify(body) });
    const correction = { source: "kiwi", task_type: "sum", prompt: "1+1?", response: "3", correction: "2" };
    const asked = {
      queue: ["queue"],
      "no such path": ["nothing"],
      submit: ["submit", post({ id: "a", action: "discard" })],
      "submit again": ["submit", post({ id: "a", action: "discard" })],
      ingest: ["ingest", post(correction, { authorization: `Bearer ${secret}` })],
      export: ["export"],
    };
    const found = {};
    for (const [name, [path, init]] of Object.entries(asked)) {
      try {
        const answer = await fetch(`${api}/${path}`, init);
        found[name] = answer.status;
        await answer.text();
        if (name === "export") found.download = answer.headers.get("content-disposition")?.slice(0, 10);
      } catch {
        found[name] = "refused";
      }
    }
    return found;
  }, { api: process.env.AVOCET_API, secret: process.env.AVOCET_SECRET }),
);
await browser.close();
process.exit(0);
