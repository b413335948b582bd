// What the client offers to a team, at the server that AVOCET_ADDRESS names. AVOCET_PROTOCOL says over which protocol.
import assert from "node:assert/strict";
import test from "node:test";
import {
  Action,
  ChangeAction,
  Claimed,
  ClaimLost,
  CandidateStatus,
  InvalidField,
  NotInReview,
  OnConflict,
  RevisionExpired,
  SnapshotExists,
  SnapshotNotFound,
} from "./names.js";
import { correctionsClient } from "@avocet/client/node";

const address = process.env["AVOCET_ADDRESS"]!;
const protocol = process.env["AVOCET_PROTOCOL"] === "grpc-web" ? "grpc-web" : "grpc";
const client = correctionsClient(address, { protocol });
const flag = (id: string, reviewer = "kim") => client.submit({ id, action: Action.FLAG, reviewer });

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
}

async function some<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) {
    found.push(item);
    if (found.length === count) {
      break;
    }
  }
  return found;
}

test("the server says which version it is, and that it serves", async () => {
  const { version, engine, startedAt } = await client.getVersion({});
  assert.match(version, /^\d+\.\d+/);
  assert.equal(engine, "sqlite");
  assert(startedAt!.seconds > 1_600_000_000n);
  assert.equal(await client.health(), "SERVING");
  assert.equal(await client.health("avocet.corrections.v1.CorrectionsService"), "SERVING");
});

test("candidates of any status are found by text, page by page", async () => {
  const run = [1, 2, 3, 4, 5].map((n) => JSON.stringify({ id: `s${n}`, status: "needs_review", model_response: `zebra ${n}` }));
  await client.sendRun("search", run.join("\n"));
  await flag("s2");
  const found = await all(client.search({ text: "ZEBRA", pageSize: 2 }));
  assert.deepEqual(found.map(({ id }) => id).sort(), ["s1", "s2", "s3", "s4", "s5"]);
  const flagged = client.search({ text: "zebra", statuses: [CandidateStatus.MODEL_REJECTED] });
  assert.deepEqual((await all(flagged)).map(({ id }) => id), ["s2"]);
  await assert.rejects(all(client.search({ text: "ze" })), InvalidField);
});

test("history tells who decided what, of one candidate and of everybody, page by page", async () => {
  for (const id of ["c00", "c01", "c02"]) {
    await flag(id, "historian");
  }
  await client.undo({ id: "c01", reviewer: "historian" });
  const [undone, flagged] = await all(client.history({ id: "c01", pageSize: 1 }));
  assert.deepEqual([undone!.action, flagged!.action], [ChangeAction.UNDO, ChangeAction.FLAG]);
  assert(flagged!.fields.some(({ name, afterJson }) => name === "status" && afterJson === '"model_rejected"'));
  const mine = await all(client.history({ actors: ["historian"], pageSize: 2, oldestFirst: true }));
  assert.deepEqual(mine.map(({ id }) => id), ["c00", "c01", "c02", "c01"]);
});

test("many decisions go in batches, each with its result", async () => {
  const ids = ["c03", "none", "c04", "c03"];
  const decisions = ids.map((id) => ({ id, action: Action.CORRECT, correctedResponse: "better", reviewer: "kim" }));
  const results = await all(client.submitMany(decisions));
  assert.deepEqual(results.map(({ index }) => index), [0, 1, 2, 3]);
  assert.deepEqual(results.map(({ error }) => error?.reason), [undefined, "CANDIDATE_NOT_FOUND", undefined, "NOT_IN_REVIEW"]);
  assert(results[3]!.error instanceof NotInReview);
  assert.equal(results[0]!.candidate!.status, CandidateStatus.APPROVED);
  assert.equal(results[2]!.decision.id, "c04");
});

test("a batch is cut where a call is full", async () => {
  const lines = Array.from({ length: 1_203 }, (_, n) => JSON.stringify({ id: `b${n}`, status: "needs_review" }));
  assert.equal((await client.sendRun("batches", lines.join("\n"))).imported, 1_203n);
  const decisions = lines.map((_, n) => ({ id: `b${n}`, action: Action.DISCARD }));
  const results = await all(client.submitMany(decisions));
  assert.equal(results.filter(({ candidate }) => candidate?.status === CandidateStatus.DISCARDED).length, 1_203);
});

test("two who claim never meet, and a claim ends with its decision", async () => {
  const kim = client.claims({ reviewer: "kim" });
  const lee = client.claims({ reviewer: "lee" });
  const [first, second] = await Promise.all([kim.take({ limit: 5 }), lee.take({ limit: 5 })]);
  assert.equal(new Set([...first, ...second].map(({ candidate }) => candidate!.id)).size, 10);
  const { leaseId, candidate } = first[0]!;
  await assert.rejects(flag(candidate!.id, "lee"), (error) => error instanceof Claimed && error.metadata["reviewer"] === "kim");
  await client.submit({ id: candidate!.id, action: Action.FLAG, leaseId });
  kim.settled(leaseId);
  assert.equal(kim.held.length, 4);
  await kim.close();
  await lee.close();
  assert.equal((await client.stats({})).claimed, 0n);
});

test("a watch goes on from a state that was saved before its first response", async () => {
  const { revision } = await client.stats({});
  const state = client.changes({ sinceRevision: revision }).state();
  const claims = client.claims({ reviewer: "kim" });
  const [claim] = await claims.take();
  const id = claim!.candidate!.id;
  await client.submit({ id, action: Action.FLAG, leaseId: claim!.leaseId });
  const { revision: now } = await client.undo({ id }).then(() => client.stats({}));
  for await (const change of client.changes({ sinceRevision: now }, { state })) {
    assert.equal(change.id, id);
    break;
  }
  claims.settled(claim!.leaseId);
  await claims.close();
});

test("a claim renews itself at half its time", async () => {
  const claims = client.claims({ reviewer: "kim", leaseSeconds: 10 });
  const [claim] = await claims.take();
  await new Promise((resolve) => setTimeout(resolve, 6_500));
  const { candidate } = await client.getCandidate({ id: claim!.candidate!.id });
  assert(candidate!.claim!.expiresAt!.seconds >= claim!.expiresAt!.seconds + 4n);
  await claims.close();
});

test("a claim renews itself however often others are taken", async () => {
  const claims = client.claims({ reviewer: "kim", leaseSeconds: 10 });
  const [first] = await claims.take();
  for (let times = 0; times < 4; times++) {
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await claims.take();
  }
  await client.submit({ id: first!.candidate!.id, action: Action.FLAG, leaseId: first!.leaseId });
  claims.settled(first!.leaseId);
  await client.undo({ id: first!.candidate!.id });
  await claims.close();
});

test("a claim that ended elsewhere is told as lost, and decides nothing", async () => {
  const lost: string[] = [];
  const claims = client.claims({ reviewer: "kim", onLost: ({ leaseId }) => lost.push(leaseId) });
  const [one, other] = await claims.take({ limit: 2 });
  await client.releaseClaims({ leaseIds: [one!.leaseId] });
  await claims.renew();
  assert.deepEqual(lost, [one!.leaseId]);
  assert.deepEqual(claims.held.map(({ leaseId }) => leaseId), [other!.leaseId]);
  const late = client.submit({ id: one!.candidate!.id, action: Action.FLAG, leaseId: one!.leaseId });
  await assert.rejects(late, ClaimLost);
  await claims.release([other!.leaseId], 600);
  assert.notEqual((await claims.take())[0]?.candidate!.id, other!.candidate!.id);
  await claims.close();
});

test("what is claimed too late, after the end, is released at once", async () => {
  const { claimed } = await client.stats({});
  const claims = client.claims({ reviewer: "kim" });
  const late = claims.take({ limit: 3 });
  await claims.close();
  assert.deepEqual(await late, []);
  assert.deepEqual(claims.held, []);
  assert.equal((await client.stats({})).claimed, claimed);
});

test("a snapshot keeps what was approved, by its name", async () => {
  const { snapshot } = await client.createSnapshot({ name: "before", note: "of a test" });
  const before = await all(client.export({ snapshot: "before" }));
  assert.equal(BigInt(before.length), snapshot!.exampleCount);
  await client.submit({ id: "c09", action: Action.CORRECT, correctedResponse: "later" });
  assert.deepEqual((await all(client.export({ snapshot: "before" }))).map(({ id }) => id), before.map(({ id }) => id));
  await assert.rejects(client.createSnapshot({ name: "before" }), SnapshotExists);
  assert.deepEqual((await all(client.snapshots())).map(({ name, note }) => [name, note]), [["before", "of a test"]]);
  await client.deleteSnapshot({ name: "before" });
  await assert.rejects(client.getSnapshot({ name: "before" }), SnapshotNotFound);
});

const line = (id: string, size = 0) => `${JSON.stringify({ id, status: "needs_review", model_response: "x".repeat(size) })}\n`;

test("a run is sent in parts, whatever it is and wherever it is cut", async () => {
  const text = Array.from({ length: 70 }, (_, n) => line(`u${n}`, 100_000)).join("");
  const bytes = new TextEncoder().encode(`${text}not JSON\n\n${line("u0", 5)}`);
  const told: number[] = [];
  const sent = await client.sendRun("upload", bytes, { onProgress: (count) => told.push(count) });
  assert.deepEqual([sent.imported, sent.malformed, sent.conflicts], [70n, 1n, 1n]);
  assert.deepEqual(sent.problems.map(({ line, id }) => [line, id]), [[71n, ""], [73n, "u0"]]);
  assert.equal(sent.byStatus["needs_review"], 70n);
  assert(told.length > 2 && told.at(-1) === bytes.length);
  async function* pieces() {
    for (let start = 0; start < bytes.length; start += 77_777) {
      yield bytes.subarray(start, start + 77_777);
    }
  }
  const again = await client.sendRun("upload", pieces());
  assert.deepEqual([again.imported, again.skipped], [0n, 70n]);
  const qualified = await client.sendRun("upload", new Blob([bytes]), { onConflict: OnConflict.QUALIFY });
  assert.deepEqual([qualified.skipped, qualified.qualified], [70n, 1n]);
  assert.equal((await client.sendRun("empty", "")).imported, 0n);
  await assert.rejects(client.sendRun("../x", line("v")), InvalidField);
});

test("a line that no message holds goes over a stream, or is refused whole", async () => {
  const run = line("w0") + line("w1", 7_000_000) + line("w2");
  if (protocol === "grpc") {
    assert.equal((await client.sendRun("long", run)).imported, 3n);
    assert.equal((await client.getCandidate({ id: "w1" }, {})).candidate!.modelResponse.length, 7_000_000);
  } else {
    await assert.rejects(client.sendRun("long", run));
    assert.deepEqual(await all(client.search({ filter: { benchmarkRunIds: ["long"] } })), []);
  }
});

test("changes come once each and in order, and a watch goes on within a response", async () => {
  const { revision } = await client.stats({});
  const ids = ["c20", "c21", "c22", "c23"];
  const actions = [ChangeAction.FLAG, ChangeAction.UNDO];
  const changes = client.changes({ sinceRevision: revision, actions });
  const first = some(changes, 1);
  await all(client.submitMany(ids.map((id) => ({ id, action: Action.FLAG }))));
  const seen = await first;
  // The same from a state that stands in the midst of a response: one commit had all four.
  const late = client.changes({ sinceRevision: revision, actions });
  assert.deepEqual((await some(late, 3)).map(({ id }) => id), ids.slice(0, 3));
  const state = JSON.parse(JSON.stringify(late.state()));
  await client.undo({ id: "c20" });
  const rest = client.changes({ sinceRevision: revision, actions, includeCandidates: true }, { state });
  const behind = await some(rest, 2);
  assert.deepEqual(
    [...seen, ...behind].map(({ id, action }) => [id, action]),
    [
      ["c20", ChangeAction.FLAG],
      ["c23", ChangeAction.FLAG],
      ["c20", ChangeAction.UNDO],
    ],
  );
  assert.equal(behind[1]!.candidate!.status, CandidateStatus.NEEDS_REVIEW);
  assert(rest.revision >= behind[1]!.revision);
});

test("a watch ends when its signal aborts, and if what it needs is gone", async () => {
  const ending = new AbortController();
  setTimeout(() => ending.abort(), 200);
  await assert.rejects(all(client.changes({}, { signal: ending.signal })), { name: "Canceled" });
  await assert.rejects(all(client.changes({ sinceRevision: 5n }, { retryForMs: 0 })), RevisionExpired);
});
