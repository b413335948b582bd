// What the caller does wrong is told at once: nothing is sent, and nothing is tried again. The service is always away.
import assert from "node:assert/strict";
import test from "node:test";
import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { Changes, clientOver, InvalidField, RequestTooLarge } from "@avocet/client";

/** A client of a service that is away, the calls that reached its transport, and their deadlines. */
function away(token = "") {
  const calls: (number | undefined)[] = [];
  const transport: Transport = {
    unary(_method, _signal, timeoutMs) {
      calls.push(timeoutMs);
      return Promise.reject(new ConnectError("away", Code.Unavailable));
    },
    async stream(_method, _signal, timeoutMs, _header, input) {
      for await (const _ of input) {
        calls.push(timeoutMs);
        break;
      }
      throw new ConnectError("away", Code.Unavailable);
    },
  };
  return { client: clientOver(transport, { token, retryForMs: 20_000 }), calls };
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
}

/** A mistake that the compiler would find, in a program that it has not seen. */
const wrong = (value: unknown) => value as never;
const item = { source: "ts", taskType: "sum", prompt: "1+1?", correction: "2" };

type Attempt = (client: ReturnType<typeof away>["client"]) => Promise<unknown>;
const FIELDS: [string, string, Attempt][] = [
  ["a single call", "expected_revision", (client) => client.submit({ id: "a", expectedRevision: wrong(1.5) })],
  ["a read", "per_page", (client) => client.queue({ perPage: 2 ** 40 })],
  ["a batch", "action", (client) => all(client.submitMany([{ id: "a", action: wrong("DISCARD") }]))],
  ["an export", "batch_size", (client) => all(client.export({ batchSize: 1.5 }))],
  ["a watch", "heartbeat_seconds", (client) => all(client.changes({ heartbeatSeconds: 1.5 }))],
  ["a part of a run", "on_conflict", (client) => client.sendRun("r", "{}", { onConflict: wrong(1.5) })],
];
for (const [what, field, attempt] of FIELDS) {
  test(`a field of ${what} that cannot be sent is named`, { timeout: 5_000 }, async () => {
    const { client, calls } = away();
    await assert.rejects(attempt(client), (error) => {
      assert(error instanceof InvalidField, String(error));
      assert.equal(error.code, Code.InvalidArgument);
      assert.deepEqual(error.fieldViolations.map((violation) => violation.field), [field]);
      assert(error.message.startsWith(`${field} is not valid`), error.message);
      return true;
    });
    assert.deepEqual(calls, []);
  });
}

test("a message of a stream that cannot be sent is told as it is", { timeout: 5_000 }, async () => {
  const { client, calls } = away();
  await assert.rejects(all(client.streamIngest(once({ items: wrong([null]) }))), (error) => {
    return error instanceof InvalidField && error.message.startsWith("The request is not valid");
  });
  assert.deepEqual(calls, []);
});

const CALLS: [string, Attempt][] = [
  ["a single call", (client) => client.stats({})],
  ["an export", (client) => all(client.export())],
  ["a watch", (client) => all(client.changes())],
  ["a bulk ingest", (client) => all(client.ingestMany([item]))],
];
for (const [what, attempt] of CALLS) {
  test(`a token that no header can carry is refused by ${what}, and not shown`, { timeout: 5_000 }, async () => {
    for (const token of ["a\nsecret", "秘密", "geh\u00e9im"]) {
      const { client, calls } = away(token);
      await assert.rejects(attempt(client), (error) => {
        assert(error instanceof TypeError, String(error));
        assert(error.message.includes("token") && !error.message.includes(token), error.message);
        return true;
      });
      assert.deepEqual(calls, []);
    }
  });
}

const BOUNDED: [string, (client: ReturnType<typeof away>["client"], timeoutMs: number) => Promise<unknown>][] = [
  ["a single call", (client, timeoutMs) => client.stats({}, { timeoutMs })],
  ["an export", (client, timeoutMs) => all(client.export({}, { timeoutMs }))],
  ["a watch", (client, timeoutMs) => all(client.changes({}, { timeoutMs }))],
  ["a bulk ingest", (client, timeoutMs) => all(client.ingestMany([item], { timeoutMs }))],
];
for (const [what, attempt] of BOUNDED) {
  test(`${what} refuses a deadline that is no time`, { timeout: 5_000 }, async () => {
    for (const timeoutMs of [NaN, -1, -Infinity, wrong("soon")]) {
      const { client, calls } = away();
      await assert.rejects(attempt(client, timeoutMs), (error) => {
        return error instanceof RangeError && error.message.includes("timeoutMs");
      });
      assert.deepEqual(calls, []);
    }
  });
}

test("a deadline is sent in whole milliseconds, as many as a header and a timer hold", async () => {
  const sent = async (timeoutMs: number) => {
    const { client, calls } = away();
    await assert.rejects(client.import({ runId: "r" }, { timeoutMs }));
    return calls[0]!;
  };
  for (const [stated, least, most] of [[1500.5, 1_400, 1_501], [0.01, 1, 1], [3e9, 99_999_000, 99_999_999]] as const) {
    const timeoutMs = await sent(stated);
    assert(Number.isInteger(timeoutMs) && timeoutMs >= least && timeoutMs <= most, `${stated}: ${timeoutMs}`);
  }
  assert.deepEqual([await sent(0), await sent(Infinity)], [0, 0]);
});

test("how long to try again is a time, too", { timeout: 5_000 }, async () => {
  const { client } = away();
  await assert.rejects(all(client.export({}, { retryForMs: NaN })), RangeError);
  await assert.rejects(all(client.changes({}, { retryForMs: -1 })), RangeError);
});

const LIMIT = 16 * 1024 * 1024;
const long = "x".repeat(LIMIT);
const LARGE: [string, Attempt][] = [
  ["a single call", (client) => client.ingest({ ...item, prompt: long })],
  ["a decision of a batch", (client) => all(client.submitMany([{ id: "a", correctedResponse: long }]))],
  ["a correction of a bulk ingest", (client) => all(client.ingestMany([{ ...item, prompt: long }]))],
  ["a message of a stream", (client) => all(client.streamIngest(once({ items: [{ ...item, prompt: long }] })))],
  ["a message of a client stream", (client) => client.uploadRun(once({ runId: long }))],
  ["a part of a run", (client) => client.sendRun(long, "{}")],
];
for (const [what, attempt] of LARGE) {
  test(`${what} that is longer than the service takes is not sent`, { timeout: 5_000 }, async () => {
    const { client, calls } = away();
    await assert.rejects(attempt(client), (error) => {
      assert(error instanceof RequestTooLarge, String(error));
      assert.equal(error.code, Code.ResourceExhausted);
      assert.match(error.message, /16,777,216/);
      return true;
    });
    assert.deepEqual(calls, []);
  });
}

test("a request that just fits is sent", async () => {
  const { client, calls } = away();
  const around = 5; // the field's number and its length
  await assert.rejects(client.import({ runId: "x".repeat(LIMIT - around) }), { name: "TransportError" });
  assert.equal(calls.length, 1);
  await assert.rejects(client.import({ runId: "x".repeat(LIMIT - around + 1) }), RequestTooLarge);
});

async function* once<T>(value: T) {
  yield value;
}

test("what the caller's own source throws comes through as it is", { timeout: 5_000 }, async () => {
  const { client } = away();
  async function* broken(): AsyncGenerator<{ items: (typeof item)[] }> {
    await Promise.reject(new EvalError("mine"));
  }
  await assert.rejects(all(client.streamIngest(broken())), EvalError);
  function* alsoBroken() {
    yield item;
    throw new EvalError("mine");
  }
  await assert.rejects(all(client.ingestMany(alsoBroken())), EvalError);
});

test("an answer at which this side fails is not asked for again", { timeout: 5_000 }, async () => {
  let calls = 0;
  async function* open() {
    calls += 1;
    yield wrong({ revision: 7n, resumeToken: "t", changes: [null] });
  }
  await assert.rejects(all(new Changes(open, {}, {})), TypeError);
  assert.equal(calls, 1);
});

const ABORTED: [string, (client: ReturnType<typeof away>["client"], signal: AbortSignal) => Promise<unknown>][] = [
  ["a single call", (client, signal) => client.stats({}, { signal })],
  ["an export", (client, signal) => all(client.export({}, { signal }))],
  ["a watch", (client, signal) => all(client.changes({}, { signal }))],
  ["a bulk ingest", (client, signal) => all(client.ingestMany([item], { signal }))],
];
for (const [what, attempt] of ABORTED) {
  test(`${what} that is ended in an outage ends as canceled`, { timeout: 5_000 }, async () => {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), 300);
    await assert.rejects(attempt(away().client, ending.signal), { name: "Canceled", code: Code.Canceled });
  });
}

test("a pause does not outlast the deadline", async () => {
  for (const timeoutMs of [150, 400, 1_000, 1_100]) {
    const start = performance.now();
    await assert.rejects(away().client.stats({}, { timeoutMs }), { name: "TransportError" });
    const took = performance.now() - start;
    assert(took < timeoutMs + 100, `${timeoutMs}: ${took}`);
  }
});
