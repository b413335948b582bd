// What the client makes of answers that a sound server does not give, over a transport in memory.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport, type ServiceImpl, type Transport } from "@connectrpc/connect";
import {
  clientOver,
  CorrectionsService,
  ErrorInfoSchema,
  ExportCorrupted,
  type ExportState,
  IngestionNotConfigured,
  Overloaded,
  RetryInfoSchema,
  StorageFailed,
  type StreamExportRequest,
  type StreamExportResponseSchema,
  TransportError,
  UnknownReason,
} from "@avocet/client";

type Response = MessageInitShape<typeof StreamExportResponseSchema>;

function client(methods: Partial<ServiceImpl<typeof CorrectionsService>>, retryForMs = 5_000) {
  const transport = createRouterTransport(({ service }) => service(CorrectionsService, methods));
  return clientOver(transport, { retryForMs });
}

function failing(code: Code, reason?: string, retryAfterSeconds?: number) {
  const details = reason
    ? [{ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason, domain: "avocet.corrections.v1" }) }]
    : [];
  const retry =
    retryAfterSeconds === undefined
      ? []
      : [{ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay: { seconds: BigInt(retryAfterSeconds) } }) }];
  return new ConnectError("scripted", code, undefined, [...details, ...retry]);
}

const examples = (...ids: string[]) => ids.map((id) => ({ id }));
const proof = (...ids: string[]) => ({
  exampleCount: BigInt(ids.length),
  idsSha256: createHash("sha256").update(ids.map((id) => `${id}\n`).join("")).digest("hex"),
});

async function exported(...calls: Response[][]) {
  const asked: StreamExportRequest[] = [];
  const stream = client({
    async *streamExport(request) {
      asked.push(request);
      yield* calls[asked.length - 1]!;
    },
  }).export({ filter: { sources: ["kiwi"] } });
  const ids: string[] = [];
  for await (const example of stream) {
    ids.push(example.id);
  }
  return { ids, asked, stream };
}

test("a stream that ends without its summary is continued behind its last batch", async () => {
  const { ids, asked, stream } = await exported(
    [{ examples: examples("a", "b"), resumeToken: "behind b", revision: 7n, total: 3n }],
    [{ examples: examples("c"), resumeToken: "behind c", revision: 7n, total: 1n, summary: proof("c") }],
  );
  assert.deepEqual(ids, ["a", "b", "c"]);
  assert.deepEqual(
    asked.map(({ resumeToken, atRevision, filter }) => [resumeToken, atRevision, filter?.sources]),
    [
      ["", 0n, ["kiwi"]],
      ["behind b", 7n, ["kiwi"]],
    ],
  );
  assert.equal(stream.total, 3);
});

for (const handedOut of [1, 2]) {
  const way = handedOut === 1 ? "revision, before it has a token" : "token, which belongs to the name";
  test(`an export of a snapshot is continued by its ${way}`, async () => {
    const asked: StreamExportRequest[] = [];
    const exporting = client({
      async *streamExport(request) {
        asked.push(request);
        if (request.resumeToken === "") {
          yield { examples: examples("a"), resumeToken: "behind a", revision: 7n, total: 3n };
          yield { examples: examples("b"), resumeToken: "behind b", revision: 7n };
        } else {
          yield { examples: examples("b", "c"), resumeToken: "behind c", revision: 7n, total: 2n, summary: proof("b", "c") };
        }
      },
    });
    const ids: string[] = [];
    let state: ExportState | undefined;
    for (const stop of handedOut === 1 ? [1, 2, 9] : [2, 9]) {
      const part = exporting.export({ snapshot: "monday" }, state === undefined ? {} : { state });
      for await (const { id } of part) {
        ids.push(id);
        if (ids.length === stop) {
          break;
        }
      }
      state = JSON.parse(JSON.stringify(part.state())) as ExportState;
    }
    assert.deepEqual(ids, ["a", "b", "c"]);
    const named = ["monday", 0n];
    assert.deepEqual(
      asked.map(({ snapshot, atRevision, resumeToken }) => [snapshot, atRevision, resumeToken]),
      handedOut === 1
        ? [[...named, ""], ["", 7n, ""], ["", 7n, "behind a"]]
        : [[...named, ""], [...named, "behind a"]],
    );
  });
}

const CORRUPTED: Record<string, Response[][]> = {
  "ids of other examples": [
    [{ examples: examples("a"), revision: 7n, total: 1n, summary: proof("b") }],
  ],
  "fewer examples than the summary says": [
    [{ examples: examples("a"), revision: 7n, total: 2n, summary: proof("a", "b") }],
  ],
  "fewer examples than the total says": [[{ examples: examples("a"), revision: 7n, total: 2n, summary: proof("a") }]],
  "another total after a break": [
    [{ examples: examples("a"), resumeToken: "behind a", revision: 7n, total: 2n }],
    [{ examples: examples("b", "c"), revision: 7n, total: 2n, summary: proof("b", "c") }],
  ],
  "another revision after a break": [
    [{ examples: examples("a"), resumeToken: "behind a", revision: 7n, total: 2n }],
    [{ examples: examples("b"), revision: 8n, total: 1n, summary: proof("b") }],
  ],
};
for (const [what, calls] of Object.entries(CORRUPTED)) {
  test(`an export is refused for ${what}`, async () => {
    await assert.rejects(exported(...calls), ExportCorrupted);
  });
}

test("an export that is continued from a state within a batch skips what was handed out, however it is cut", async () => {
  const begun = { revision: "7", resumeToken: "behind a", skip: 2, consumed: 3, total: 5, finished: false };
  const state = { ...client({}).export().state(), ...begun };
  const stream = client({
    async *streamExport({ resumeToken }) {
      assert.equal(resumeToken, "behind a");
      yield { examples: examples("b"), resumeToken: "behind b", revision: 7n, total: 4n };
      yield { examples: examples("c", "d"), resumeToken: "behind d", revision: 7n };
      yield { examples: examples("e"), resumeToken: "behind e", revision: 7n, summary: proof("b", "c", "d", "e") };
    },
  }).export({}, { state });
  const ids: string[] = [];
  for await (const { id } of stream) {
    ids.push(id);
  }
  assert.deepEqual(ids, ["d", "e"]);
  assert.deepEqual([stream.consumed, stream.state().finished], [5, true]);
});

test("a write is repeated with the request id that it had", async () => {
  const seen: string[] = [];
  const submitting = client({
    submit({ requestId }) {
      seen.push(requestId);
      if (seen.length < 3) {
        throw failing(Code.Unavailable, seen.length === 1 ? "STORAGE_FAILED" : undefined);
      }
      return {};
    },
  });
  await submitting.submit({ id: "a" });
  assert.equal(seen.length, 3);
  assert.match(seen[0]!, /^[0-9a-f-]{36}$/);
  assert.equal(new Set(seen).size, 1);
});

test("a call whose connection the operating system broke is repeated, whatever it calls that", async () => {
  for (const code of ["EPIPE", "EHOSTUNREACH", "ENETDOWN"]) {
    const sound = createRouterTransport(({ service }) => service(CorrectionsService, { stats: () => ({ total: 3n }) }));
    let calls = 0;
    const breaking: Transport = {
      ...sound,
      unary: (...call) => {
        calls += 1;
        if (calls > 1) {
          return sound.unary(...call);
        }
        const cause = Object.assign(new Error(`write ${code}`), { code, syscall: "write" });
        return Promise.reject(new ConnectError(cause.message, Code.Internal, undefined, undefined, cause));
      },
    };
    const { total } = await clientOver(breaking, { retryForMs: 5_000 }).stats({});
    assert.deepEqual([total, calls], [3n, 2]);
  }
});

test("a request id of the caller's own is kept, and is in the error", async () => {
  const submitting = client({ submit: () => Promise.reject(failing(Code.Unavailable, "STORAGE_FAILED")) }, 0);
  await assert.rejects(submitting.submit({ id: "a", requestId: "mine" }), (error) => {
    return error instanceof StorageFailed && error.requestId === "mine";
  });
});

const NOT_REPEATED: [string, ConnectError, new (...args: never[]) => Error][] = [
  ["a secret that is not configured", failing(Code.Unavailable, "INGESTION_NOT_CONFIGURED"), IngestionNotConfigured],
  ["an overload", failing(Code.ResourceExhausted, "OVERLOADED", 3), Overloaded],
  ["a reason of a later version", failing(Code.Unavailable, "NOT_KNOWN_YET"), UnknownReason],
  ["a proxy's refusal", failing(Code.PermissionDenied), TransportError],
];
for (const [what, failure, kind] of NOT_REPEATED) {
  test(`a call is not repeated for ${what}`, async () => {
    let calls = 0;
    const ingesting = client({
      ingest() {
        calls += 1;
        throw failure;
      },
    });
    await assert.rejects(ingesting.ingest({}), (error) => {
      assert(error instanceof kind);
      assert.equal((error as Overloaded).retryAfterMs, kind === (Overloaded as unknown) ? 3_000 : undefined);
      return true;
    });
    assert.equal(calls, 1);
  });
}

test("a write without a request id is not repeated", async () => {
  let calls = 0;
  const importing = client({
    import() {
      calls += 1;
      throw failing(Code.Unavailable);
    },
  });
  await assert.rejects(importing.import({ runId: "r" }), TransportError);
  assert.equal(calls, 1);
});

test("a bulk ingest sends again what has no result, with the same request ids", async () => {
  const sent: string[][] = [];
  const ingesting = client({
    async *streamIngest(messages) {
      for await (const { items } of messages) {
        sent.push(items.map(({ requestId }) => requestId));
        if (sent.length === 2) {
          throw failing(Code.Unavailable, "SHUTTING_DOWN");
        }
        yield { results: items.map(({ requestId }) => ({ id: `of ${requestId}`, created: true })) };
      }
    },
  });
  const corrections = Array.from({ length: 450 }, (_, n) => ({ prompt: `${n}` }));
  const results: string[] = [];
  for await (const { correction, id, index } of ingesting.ingestMany(corrections)) {
    assert.equal(id, `of ${correction.requestId}`);
    assert.equal(index, results.length);
    results.push(correction.prompt);
  }
  assert.deepEqual(results, corrections.map(({ prompt }) => prompt));
  assert.deepEqual(sent.map((ids) => ids.length), [200, 200, 200, 50]);
  assert.deepEqual(sent[1], sent[2]);
});
