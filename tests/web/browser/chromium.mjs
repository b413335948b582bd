// A real Chromium, and what the tests ask of every page: nothing runs, nothing leaves, nothing complains.
import { createRequire } from "node:module";

const require = createRequire(process.env.AVOCET_WEB_PACKAGE);
export const { chromium } = require("playwright-core");
export const axe = require("axe-core").source;

export const address = process.env.AVOCET_PAGE;
export const say = (what) => console.log(JSON.stringify(what));

/** Open a browser with a page that records what it should not do. */
export async function open(options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.AVOCET_CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    ignoreHTTPSErrors: process.env.AVOCET_TLS === "untrusted",
    ...options,
  });
  const page = await context.newPage();
  const seen = { outside: [], messages: [], dialogs: [] };
  const origin = new URL(address).origin;
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${origin}/`) && !url.startsWith("data:")) seen.outside.push(url);
  });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.messages.push(message.text());
  });
  page.on("pageerror", (error) => seen.messages.push(String(error)));
  page.on("dialog", (dialog) => {
    seen.dialogs.push(dialog.message());
    return dialog.dismiss();
  });
  return { browser, context, page, seen };
}

/** The id of the candidate that is shown. */
export const shown = async (page) => (await page.locator(".chip").textContent()).trim();

/** Wait until another candidate than this one is shown, or none; give its id, or "". */
export async function next(page, from) {
  await page.waitForFunction((id) => {
    const chip = document.querySelector(".chip");
    return chip ? chip.textContent.trim() !== id : /Nothing is left|Others are at work/.test(document.body.textContent);
  }, from);
  return (await page.locator(".chip").count()) > 0 ? shown(page) : "";
}

/** Type the token that the test gives, if the page has to ask for one. */
export async function enter(page) {
  if (process.env.AVOCET_TYPED_TOKEN) {
    await page.locator("input[type=password]").fill(process.env.AVOCET_TYPED_TOKEN);
    await page.getByRole("button", { name: "Use it" }).click();
    await page.waitForSelector(".chip");
    await page.locator("h2").focus();
  }
}

/** Keep what the service answers to `Claim`: the lease ids are in it, and nowhere on the page. */
export async function recordClaims(page) {
  await page.addInitScript(() => {
    const send = window.fetch;
    window.claimed = [];
    window.fetch = async (url, init) => {
      const answer = await send(url, init);
      if (!String(url).endsWith("/Claim")) return answer;
      const bytes = await answer.arrayBuffer();
      window.claimed.push([...new Uint8Array(bytes)]);
      return new Response(bytes, { status: answer.status, headers: answer.headers });
    };
  });
  return () => page.evaluate(() => window.claimed);
}

/**
 * Let every call reach the service, but keep back what it answers to one method until the test lets it pass. So a test
 * forces the order of events, however slow the machine is.
 */
export async function holdAnswers(page) {
  await page.addInitScript(() => {
    const send = window.fetch;
    const held = (window.held = { method: sessionStorage.getItem("held") ?? "", claims: [], answers: [], underWay: 0 });
    sessionStorage.removeItem("held");
    window.fetch = async (url, init) => {
      const method = String(url).split("/").at(-1);
      held.underWay += 1;
      try {
        const answer = await send(url, init);
        const bytes = await answer.arrayBuffer();
        if (method === "Claim") held.claims.push([...new Uint8Array(bytes)]);
        const isRefused = method === held.method && (await new Promise((pass) => held.answers.push(pass)));
        // A refusal is one frame of trailers.
        const end = "grpc-status: 3\r\ngrpc-message: refused\r\n";
        const body = isRefused ? new Blob([new Uint8Array([0x80, 0, 0, 0, end.length]), end]) : bytes;
        return new Response(body, { status: answer.status, headers: answer.headers });
      } finally {
        held.underWay -= 1;
      }
    };
  });
  const pass = (method, isRefused) =>
    page.evaluate(([each, refused]) => {
      if (held.method !== each) throw new Error(`${each} is not held`);
      held.method = "";
      held.answers.splice(0).forEach((pass) => pass(refused));
    }, [method, isRefused]);
  return {
    hold: (method) => page.evaluate((each) => void (held.method = each), method),
    holdAfterReload: (method) => page.evaluate((each) => sessionStorage.setItem("held", each), method),
    arrived: () => page.waitForFunction(() => held.answers.length > 0),
    release: (method) => pass(method, false),
    refuse: (method) => pass(method, true),
    claims: () => page.evaluate(() => held.claims),
    /** Wait until nothing is under way, and the page has drawn what it had to. */
    quiet: () =>
      page.waitForFunction(() => {
        held.frames = held.underWay === 0 ? (held.frames ?? 0) + 1 : 0;
        return held.frames > 20;
      }, undefined, { polling: "raf" }),
  };
}

/** What ran or left, over everything that hostile text could do. */
export async function harm(page, seen) {
  const ran = await page.evaluate(() => globalThis.ran ?? []);
  return { ran, outside: seen.outside, dialogs: seen.dialogs };
}

/** Read the next line of stdin: the test lets the next step begin. */
export async function goOn() {
  await new Promise((resolve) => process.stdin.once("data", resolve));
}
