// What the client promises, at the server that AVOCET_ADDRESS names. AVOCET_PROTOCOL says over which protocol.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import {
  Action,
  CandidateNotFound,
  CandidateSchema,
  CandidateStatus,
  Code,
  ERRORS_BY_REASON,
  ErrorReason,
  FailureCategory,
  InvalidField,
  NotInReview,
  Order,
  reasonOf,
  RevisionMismatch,
  TokenMissing,
  TokenRefused,
  toJsonString,
} from "./names.js";
import { correctionsClient } from "@avocet/client/node";

const address = process.env["AVOCET_ADDRESS"]!;
const protocol = process.env["AVOCET_PROTOCOL"] === "grpc-web" ? "grpc-web" : "grpc";
const secret = process.env["AVOCET_TEST_SECRET"]!;
const client = correctionsClient(address, { protocol });
const ingesting = correctionsClient(address, { protocol, token: secret });

test("a queue is iterated over page by page, each candidate once", async () => {
  const ids: string[] = [];
  for await (const candidate of client.candidates({ perPage: 7, order: Order.FILE })) {
    ids.push(candidate.id);
  }
  assert.equal(ids.length, 30);
  assert.equal(new Set(ids).size, 30);
});

test("a filter restricts the queue", async () => {
  const page = await client.queue({ filter: { taskTypes: ["none such"] } });
  assert.deepEqual([page.items.length, page.total], [0, 0n]);
});

test("a decision is stored and undone with revisions, and a stale one is refused by its class", async () => {
  const { candidate } = await client.getCandidate({ id: "c01" });
  const request = { id: "c01", action: Action.CORRECT, correctedResponse: "better ✓" };
  const decided = await client.submit({
    ...request,
    failureCategory: FailureCategory.WRONG_ANSWER,
    expectedRevision: candidate!.revision,
  });
  assert.equal(decided.candidate!.status, CandidateStatus.APPROVED);
  assert.equal(decided.candidate!.correctedResponse, "better ✓");
  await assert.rejects(client.submit(request), (error) => {
    assert(error instanceof NotInReview);
    assert.equal(error.metadata["current_status"], "approved");
    assert.equal(error.code, Code.FailedPrecondition);
    assert.notEqual(error.requestId, "");
    return true;
  });
  await assert.rejects(client.undo({ id: "c01", expectedRevision: candidate!.revision }), RevisionMismatch);
  const undone = await client.undo({ id: "c01", expectedRevision: decided.candidate!.revision });
  assert.equal(undone.candidate!.status, CandidateStatus.NEEDS_REVIEW);
});

test("the same request id stores once", async () => {
  const correction = { source: "ts", taskType: "sum", prompt: "1+1?", correction: "2", requestId: crypto.randomUUID() };
  const first = await ingesting.ingest(correction);
  const second = await ingesting.ingest(correction);
  assert.deepEqual([first.created, second.created, second.id], [true, false, first.id]);
});

test("errors have the class of their reason, and name the field at fault", async () => {
  await assert.rejects(client.getCandidate({ id: "none" }), CandidateNotFound);
  await assert.rejects(client.submit({ id: "c02", action: Action.CORRECT }), (error) => {
    assert(error instanceof InvalidField);
    assert.deepEqual(
      error.fieldViolations.map((violation) => violation.field),
      ["corrected_response"],
    );
    assert.equal(reasonOf(error), "INVALID_FIELD");
    return true;
  });
  const item = { source: "ts", taskType: "sum", prompt: "1+1?", correction: "2" };
  await assert.rejects(client.ingest(item), TokenMissing);
  await assert.rejects(correctionsClient(address, { protocol, token: "wrong" }).ingest(item), TokenRefused);
});

test("each reason of the service has a class", () => {
  for (const name of Object.values(ErrorReason)) {
    if (typeof name === "string" && name !== "UNSPECIFIED") {
      assert(name in ERRORS_BY_REASON, name);
    }
  }
});

test("an export gives each example once, and knows where it stands", async () => {
  const whole = client.export({ batchSize: 9 });
  const ids: string[] = [];
  for await (const example of whole) {
    ids.push(example.id);
  }
  assert.equal(whole.total, ids.length);
  assert.equal(whole.consumed, ids.length);
  assert.equal(new Set(ids).size, ids.length);
  assert(ids.length >= 40);
  const half = client.export({ batchSize: 9, atRevision: whole.revision });
  const begun: string[] = [];
  for await (const example of half) {
    begun.push(example.id);
    if (begun.length === 14) {
      break;
    }
  }
  const state = JSON.parse(JSON.stringify(half.state()));
  for await (const example of client.export({ batchSize: 4, atRevision: whole.revision }, { state })) {
    begun.push(example.id);
  }
  assert.deepEqual(begun, ids);
  const digest = (list: string[]) => createHash("sha256").update(list.join("\n")).digest("hex");
  assert.equal(digest(begun), digest(ids));
});

test("an aborted call ends as canceled", async () => {
  const aborting = new AbortController();
  const call = client.stats({}, { signal: aborting.signal });
  aborting.abort();
  await assert.rejects(call, (error) => error instanceof Error && error.name === "Canceled");
});

test("a deadline of the caller's own holds", async () => {
  await assert.rejects(client.stats({}, { timeoutMs: 0.01 }), (error) => {
    return error instanceof Error && error.name === "DeadlineExceeded";
  });
});

test("the deadline of a stream ends it, and the next stream continues the export", async () => {
  const slow = async (timeoutMs: number, retryForMs: number) => {
    const ids: string[] = [];
    for await (const { id } of client.export({ batchSize: 1 }, { timeoutMs, retryForMs })) {
      ids.push(id);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return ids;
  };
  assert.equal((await slow(200, 20_000)).length, (await slow(0, 0)).length);
  await assert.rejects(slow(1, 0), (error) => error instanceof Error && error.name === "DeadlineExceeded");
});

test("counts are bigint, and a message goes to JSON by its schema", async () => {
  const stats = await client.stats({});
  assert.equal(typeof stats.total, "bigint");
  assert(Number(stats.exportReady) >= 40);
  const { candidate } = await client.getCandidate({ id: "c03" });
  assert.equal(JSON.parse(toJsonString(CandidateSchema, candidate!)).id, "c03");
});

test("many corrections go over one stream, each with its result", { skip: protocol === "grpc-web" }, async () => {
  const item = (n: number) => ({ source: "ts", taskType: "sum", prompt: `${n}+1?`, correction: n === 700 ? " " : `${n + 1}` });
  async function* corrections() {
    for (let n = 0; n < 2_500; n += 1) {
      yield item(n);
    }
  }
  const refused: number[] = [];
  let seen = 0;
  for await (const result of ingesting.ingestMany(corrections())) {
    assert.equal(result.index, seen);
    assert.equal(result.correction.prompt, `${seen}+1?`);
    seen += 1;
    if (result.error) {
      assert(result.error instanceof InvalidField);
      refused.push(result.index);
    } else {
      assert(result.created);
    }
  }
  assert.deepEqual([seen, refused], [2_500, [700]]);
});

test("leaving a bulk ingest early ends its call", { skip: protocol === "grpc-web" }, async () => {
  function* endless() {
    for (;;) {
      yield { source: "ts", taskType: "sum", prompt: "1+1?", correction: "2" };
    }
  }
  for await (const result of ingesting.ingestMany(endless())) {
    assert(result.created);
    break;
  }
  await assert.rejects(async () => {
    for await (const _ of client.ingestMany(endless(), { retryForMs: 2_000 }));
  }, TokenMissing);
});
