// What a saved state must be before an export or a watch goes on from it. No call is made for one that is wrong.
import assert from "node:assert/strict";
import test from "node:test";
import type { Transport } from "@connectrpc/connect";
import { ChangeAction, type ChangesRequest, clientOver, type ExportRequest, SplitName } from "@avocet/client";

const transport: Transport = {
  unary: () => Promise.reject(new Error("no call was expected")),
  stream: () => Promise.reject(new Error("no call was expected")),
};
const client = clientOver(transport, { retryForMs: 0 });
const exported = { ...client.export().state(), revision: "7", resumeToken: "t", skip: 2, consumed: 3, total: 5 };
const watched = { ...client.changes().state(), revision: "7", resumeToken: "t", taken: [["8", "a", 1]] };

const NO_STATES: [unknown, RegExp][] = [
  [null, /not an object/],
  ["x", /not an object/],
  [[], /not an object/],
  [5, /not an object/],
  [{}, /version undefined/],
];
const EXPORTS: [unknown, RegExp][] = [
  ...NO_STATES,
  [{ ...exported, version: 2 }, /version 2/],
  [{ revision: "7", resumeToken: "t" }, /version/],
  ...Object.keys(exported).flatMap((name): [unknown, RegExp][] =>
    name === "version" ? [] : [[{ ...exported, [name]: undefined }, new RegExp(`state's ${name} is missing or wrong`)]],
  ),
  [{ ...exported, revision: 7 }, /revision/],
  [{ ...exported, revision: "abc" }, /revision/],
  [{ ...exported, revision: "-1" }, /revision/],
  [{ ...exported, revision: "9".repeat(40) }, /revision/],
  [{ ...exported, resumeToken: null }, /resumeToken/],
  [{ ...exported, skip: "2" }, /skip/],
  [{ ...exported, skip: -2 }, /skip/],
  [{ ...exported, skip: 0.5 }, /skip/],
  [{ ...exported, consumed: null }, /consumed/],
  [{ ...exported, skip: 4 }, /skip/],
  [{ ...exported, skip: 9, consumed: 9 }, /consumed/],
  [{ ...exported, total: null }, /consumed/],
  [{ ...exported, total: "5" }, /total/],
  [{ ...exported, finished: "no" }, /finished/],
  [watched, /missing or wrong/],
];
const WATCHES: [unknown, RegExp][] = [
  ...NO_STATES,
  [{ ...watched, version: "1" }, /version 1/],
  [{ ...watched, resumeToken: 5 }, /resumeToken/],
  [{ ...watched, revision: undefined }, /revision/],
  ...[null, "abc", [5], [["8", "a"]], [[8, "a", 1]], [["8", 5, 1]], [["8", "a", "1"]], [["8", "a", 1, 2]]].map(
    (taken): [unknown, RegExp] => [{ ...watched, taken }, /taken/],
  ),
  [exported, /missing or wrong/],
];

test("an export does not go on from what is not its state, and says what is wrong", () => {
  for (const [state, said] of EXPORTS) {
    assert.throws(() => client.export({}, { state: state as never }), check(said), JSON.stringify(state));
  }
});

test("a watch does not go on from what is not its state, and says what is wrong", () => {
  for (const [state, said] of WATCHES) {
    assert.throws(() => client.changes({}, { state: state as never }), check(said), JSON.stringify(state));
  }
});

function check(said: RegExp) {
  return (error: unknown) => error instanceof TypeError && said.test(error.message) && error.message.endsWith(".");
}

test("an export does not go on from the state of another request", () => {
  const others: ExportRequest[] = [
    { filter: { taskTypes: ["code"] } },
    { shardIndex: 0, shardCount: 2 },
    { split: { name: SplitName.TRAIN, validationFraction: 0.1 } },
    { snapshot: "monday" },
    { sinceRevision: 3n },
    { uniquePrompts: true },
  ];
  for (const request of others) {
    assert.throws(() => client.export(request, { state: exported }), check(/another export/), Object.keys(request)[0]);
    const state = { ...client.export(request).state(), revision: "7" };
    assert.equal(client.export({ ...request, batchSize: 9 }, { state }).revision, 7n);
  }
  assert.throws(() => client.export({ atRevision: 6n }, { state: exported }), check(/revision 7, not 6/));
  assert.equal(client.export({ atRevision: 7n }, { state: exported }).consumed, 3);
});

test("a watch does not go on from the state of another filter or other actions", () => {
  const others: ChangesRequest[] = [{ filter: { taskTypes: ["code"] } }, { actions: [ChangeAction.FLAG] }];
  for (const request of others) {
    assert.throws(() => client.changes(request, { state: client.changes().state() }), check(/another watch/));
  }
  const state = client.changes({ actions: [ChangeAction.FLAG, ChangeAction.UNDO] }).state();
  const same = { actions: [ChangeAction.UNDO, ChangeAction.FLAG, ChangeAction.UNDO], sinceRevision: 3n };
  assert.deepEqual(client.changes({ ...same, includeCandidates: true, heartbeatSeconds: 5 }, { state }).state(), state);
  const whole = { ...client.changes().state(), revision: "7", resumeToken: "t", taken: [["8", "a", 1]] as const };
  assert.deepEqual(client.changes({}, { state: whole }).state(), whole);
  assert.equal(client.changes({}, { state: whole }).revision, 7n);
});
