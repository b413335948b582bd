import { create } from "@bufbuild/protobuf";
import { Code, type CallOptions } from "@connectrpc/connect";
import { batches } from "./batches.js";
import type { Calls } from "./calls.js";
import { type CorrectionsError, errorOfStatus, TransportError } from "./errors.js";
import type { Fields } from "./fields.js";
import { type Candidate, type SubmitRequest, SubmitRequestSchema } from "./gen/avocet/corrections/v1/corrections_pb.js";

/** A decision of a batch. The batch has the request id. */
export type Decision = Fields<typeof SubmitRequestSchema, "requestId">;

/** What became of one decision, the `index`-th from 0. */
export interface DecisionResult {
  readonly index: number;
  readonly decision: SubmitRequest;
  /** Its `id`, `status` and `revision` alone; undefined if the decision was refused. */
  readonly candidate: Candidate | undefined;
  readonly error: CorrectionsError | undefined;
}

/** The server takes 500 in one call, and 16 MB. A character has 4 bytes at most. */
const LIMITS = { most: 500, bytes: 12_000_000 };

/** Decide candidates in batches, each batch in one commit, and yield the results in order. */
export async function* submitMany(
  calls: Calls,
  decisions: Iterable<Decision> | AsyncIterable<Decision>,
  options: CallOptions = {},
): AsyncGenerator<DecisionResult, void, undefined> {
  let done = 0;
  for await (const batch of batches(made(decisions), LIMITS, bytesOf)) {
    const { results } = await calls.batchSubmit({ decisions: batch }, options);
    if (results.length !== batch.length) {
      const what = `The server must give one result for each decision; decisions: ${batch.length}, results: ${results.length}.`;
      throw new TransportError(what, { code: Code.Internal });
    }
    for (const [place, { candidate, error }] of results.entries()) {
      const decision = batch[place]!;
      yield { index: done + place, decision, candidate, error: error && errorOfStatus(error) };
    }
    done += batch.length;
  }
}

async function* made(decisions: Iterable<Decision> | AsyncIterable<Decision>): AsyncGenerator<SubmitRequest> {
  for await (const decision of decisions) {
    yield create(SubmitRequestSchema, decision);
  }
}

function bytesOf({ correctedResponse, correctedMessage, reviewer }: SubmitRequest): number {
  const { content = "", extraJson = "" } = correctedMessage ?? {};
  return 2_000 + 4 * (correctedResponse.length + content.length + extraJson.length + reviewer.length);
}
