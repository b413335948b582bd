import { sha256 } from "@noble/hashes/sha2";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, type CallOptions } from "@connectrpc/connect";
import { Backoff, STREAM_PAUSES, streamMayContinue } from "./backoff.js";
import { ExportCorrupted, TransportError } from "./errors.js";
import {
  type ExportSummary,
  StreamExportRequestSchema,
  type StreamExportResponse,
  type TrainingExample,
} from "./gen/avocet/corrections/v1/corrections_pb.js";
import { checkState, digestOf, type Form, isCount, isRevision, isText, notWhole } from "./saved_state.js";

export type ExportRequest = MessageInitShape<typeof StreamExportRequestSchema>;
type Open = (request: ExportRequest, options: CallOptions) => AsyncIterable<StreamExportResponse>;

/** How an export is carried out. */
export interface ExportOptions {
  /** Continue where this state stands. A `TypeError` says if it is of another request, or is not a state at all. */
  readonly state?: ExportState;
  /** How long to wait for the service during an outage, in milliseconds. 300,000 if left out. */
  readonly retryForMs?: number;
  /** Bounds one stream; the next one continues it. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Where an export stands, at the very example, in values that JSON holds. */
export interface ExportState {
  readonly version: number;
  /** A digest of the filter, shard, split and revisions that were asked for. */
  readonly request: string;
  readonly revision: string;
  readonly resumeToken: string;
  /** How many examples after the token were handed out. */
  readonly skip: number;
  readonly consumed: number;
  readonly total: number | null;
  readonly finished: boolean;
  /** Whether the token belongs to the snapshot's revision, and not to its name. */
  readonly byRevision?: boolean;
}

const VERSION = 1;
const FORM: Form<ExportState> = {
  version: isCount,
  request: isText,
  revision: isRevision,
  resumeToken: isText,
  skip: isCount,
  consumed: isCount,
  total: (value) => value === null || isCount(value),
  finished: (value) => typeof value === "boolean",
  byRevision: (value) => value === undefined || typeof value === "boolean",
};

/**
 * Iterates over the examples of one export, each once, in order of approval, across breaks of the stream. The end is
 * proved against the server's summary: if anything is missing, the iteration ends with `ExportCorrupted`.
 */
export class Export implements AsyncIterable<TrainingExample> {
  readonly #digest: string;
  #revision = 0n;
  #token = "";
  #byRevision = false;
  #skip = 0;
  #consumed = 0;
  #total: number | null = null;
  #finished = false;

  /** @internal */
  constructor(
    private readonly open: Open,
    private readonly request: ExportRequest,
    private readonly options: ExportOptions,
  ) {
    // How it is cut into responses may change; the revision is a key of the state itself.
    this.#digest = digestOf(StreamExportRequestSchema, { ...request, batchSize: 0, atRevision: 0n, resumeToken: "" });
    this.#revision = request.atRevision ?? 0n;
    if (options.state !== undefined) {
      this.#load(options.state);
    }
  }

  /** How many examples the whole export has; null before the first response has arrived. */
  get total(): number | null {
    return this.#total;
  }

  /** How many examples were handed out, those before a given state included. */
  get consumed(): number {
    return this.#consumed;
  }

  /** The revision that the export is pinned to; 0n before the first response has arrived. */
  get revision(): bigint {
    return this.#revision;
  }

  /** Where the export stands now; give it to another export of the same request to continue there. */
  state(): ExportState {
    return {
      version: VERSION,
      request: this.#digest,
      revision: this.#revision.toString(),
      resumeToken: this.#token,
      skip: this.#skip,
      consumed: this.#consumed,
      total: this.#total,
      finished: this.#finished,
      ...(this.#byRevision && { byRevision: true }),
    };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TrainingExample, void, undefined> {
    const backoff = new Backoff(this.options.retryForMs ?? 300_000, STREAM_PAUSES);
    while (!this.#finished) {
      try {
        yield* this.#stream(backoff);
      } catch (failure) {
        if (!streamMayContinue(failure)) {
          throw failure;
        }
        await backoff.pause(failure, this.options.signal);
      }
    }
  }

  #load(state: ExportState): void {
    checkState(state, VERSION, FORM);
    const { revision, resumeToken, skip, consumed, total, finished } = state;
    if (skip > consumed || consumed > (total ?? 0)) {
      throw notWhole(skip > consumed ? "skip" : "consumed"); // it would skip examples that nobody was given
    }
    if (state.request !== this.#digest) {
      throw new TypeError("The state is of another export. Ask for the same filter, shard, split and revisions.");
    }
    if (this.#revision !== 0n && this.#revision !== BigInt(revision)) {
      throw new TypeError(`The state is of revision ${revision}, not ${this.#revision}.`);
    }
    this.#revision = BigInt(revision);
    this.#byRevision = state.byRevision ?? false;
    [this.#token, this.#skip, this.#consumed] = [resumeToken, skip, consumed];
    [this.#total, this.#finished] = [total, finished];
  }

  /** One call: from behind the last token to its end. */
  async *#stream(backoff: Backoff): AsyncGenerator<TrainingExample, void, undefined> {
    const { signal, timeoutMs } = this.options;
    if (this.#token === "" && !this.request.atRevision) {
      // A snapshot may be deleted, and another one get its name, before there is a token.
      this.#byRevision = Boolean(this.request.snapshot) && this.#revision > 0n;
    }
    // A snapshot's name stands for its revision, and the service refuses the two together.
    const isNamed = this.request.snapshot && !this.#byRevision;
    const request = {
      ...this.request,
      ...(isNamed ? {} : { snapshot: "", atRevision: this.#revision }),
      resumeToken: this.#token,
    };
    const proof = new Proof();
    let handedOut = this.#skip;
    const before = this.#consumed - handedOut;
    for await (const response of this.open(request, {
      ...(signal && { signal }),
      ...(timeoutMs !== undefined && { timeoutMs }),
    })) {
      if (proof.isFirst) {
        this.#checkFirst(response, before);
      }
      proof.add(response);
      backoff.progressed();
      for (const example of response.examples) {
        if (handedOut > 0) {
          handedOut -= 1;
          continue;
        }
        this.#skip += 1;
        this.#consumed += 1;
        yield example;
      }
      // Whole batches lie behind the token now; what was handed out of the next ones before a break is skipped still.
      this.#token = response.resumeToken;
      this.#skip = handedOut;
      if (response.summary) {
        proof.check(response.summary);
        this.#finished = true;
      }
    }
    if (!this.#finished) {
      throw new TransportError("The export's stream ended before its summary.", { code: Code.Unavailable });
    }
  }

  #checkFirst(response: StreamExportResponse, before: number): void {
    const total = before + Number(response.total);
    if (this.#total !== null && this.#total !== total) {
      throw new ExportCorrupted(`It had ${this.#total} examples; continued, the server says ${total}.`);
    }
    if (this.#revision !== 0n && this.#revision !== response.revision) {
      throw new ExportCorrupted(`It is of revision ${this.#revision}; the server sends ${response.revision}.`);
    }
    this.#total = total;
    this.#revision = response.revision;
  }
}

/** What one call has sent, to be held against its summary. */
class Proof {
  isFirst = true;
  #total = 0n;
  #count = 0n;
  readonly #ids = sha256.create();

  add(response: StreamExportResponse): void {
    if (this.isFirst) {
      this.isFirst = false;
      this.#total = response.total;
    }
    this.#count += BigInt(response.examples.length);
    for (const example of response.examples) {
      this.#ids.update(utf8ToBytes(`${example.id}\n`));
    }
  }

  check(summary: ExportSummary): void {
    if (summary.exampleCount !== this.#count || this.#total !== this.#count) {
      const sent = `${summary.exampleCount} examples of ${this.#total}`;
      throw new ExportCorrupted(`The server says that it sent ${sent}; ${this.#count} arrived.`);
    }
    if (summary.idsSha256 !== bytesToHex(this.#ids.digest())) {
      throw new ExportCorrupted("The ids that arrived are not those of the server's summary.");
    }
  }
}
