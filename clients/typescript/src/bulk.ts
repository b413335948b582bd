import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, type CallOptions } from "@connectrpc/connect";
import { Backoff, STREAM_PAUSES, streamMayContinue } from "./backoff.js";
import { batches } from "./batches.js";
import { type CorrectionsError, errorOfStatus, TransportError } from "./errors.js";
import {
  type IngestRequest,
  IngestRequestSchema,
  type StreamIngestRequestSchema,
  type StreamIngestResponse,
} from "./gen/avocet/corrections/v1/corrections_pb.js";
import { encoded } from "./requests.js";

export type Correction = MessageInitShape<typeof IngestRequestSchema>;
type Message = MessageInitShape<typeof StreamIngestRequestSchema>;
type Open = (messages: AsyncIterable<Message>, options: CallOptions) => AsyncIterable<StreamIngestResponse>;

/** What became of one correction, the `index`-th from 0: stored under `id`, or refused with `error`. */
export interface IngestResult {
  readonly index: number;
  readonly id: string;
  /** False if its `requestId` was stored before. */
  readonly created: boolean;
  readonly error: CorrectionsError | undefined;
  /** The correction, with the request id that it was sent with. */
  readonly correction: IngestRequest;
}

export interface BulkOptions {
  /** How long to wait for the service during an outage, in milliseconds. 300,000 if left out. */
  readonly retryForMs?: number;
  /** Bounds one stream; the next one continues it. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const MESSAGE = { most: 200, bytes: 1_000_000 };
/** How many messages wait for their results at most. */
const WINDOW = 8;

/** Send corrections over one stream, in messages, and yield their results in order; nothing is stored twice. */
export async function* ingestMany(
  open: Open,
  corrections: Iterable<Correction> | AsyncIterable<Correction>,
  options: BulkOptions,
): AsyncGenerator<IngestResult, void, undefined> {
  const unsettled: IngestRequest[][] = [];
  const backoff = new Backoff(options.retryForMs ?? 300_000, STREAM_PAUSES);
  let call = new Call(open, options, []);
  let done = 0;

  /** The results of the oldest message; none if the stream broke and was begun again. */
  async function receive(): Promise<IngestResult[]> {
    let response: StreamIngestResponse;
    try {
      response = await call.receive();
    } catch (failure) {
      await call.end();
      if (!streamMayContinue(failure)) {
        throw failure;
      }
      await backoff.pause(failure, options.signal);
      call = new Call(open, options, unsettled);
      return [];
    }
    backoff.progressed();
    const results = settle(unsettled.shift() ?? [], response, done);
    done += results.length;
    return results;
  }

  try {
    for await (const message of batches(made(corrections), MESSAGE, bytesOf)) {
      unsettled.push(message);
      call.send(message);
      while (unsettled.length >= WINDOW) {
        yield* await receive();
      }
    }
    while (unsettled.length > 0) {
      yield* await receive();
    }
  } finally {
    await call.end();
  }
}

function settle(sent: IngestRequest[], { results }: StreamIngestResponse, done: number): IngestResult[] {
  if (results.length !== sent.length) {
    const what = `The server must give one result for each correction; corrections: ${sent.length}, results: ${results.length}.`;
    throw new TransportError(what, { code: Code.Internal });
  }
  return results.map((result, place) => {
    const correction = sent[place]!;
    const error = result.error && errorOfStatus(result.error, correction.requestId);
    return { index: done + place, id: result.id, created: result.created, error, correction };
  });
}

async function* made(
  corrections: Iterable<Correction> | AsyncIterable<Correction>,
): AsyncGenerator<IngestRequest, void, undefined> {
  for await (const each of corrections) {
    const correction = create(IngestRequestSchema, each);
    correction.requestId ||= crypto.randomUUID();
    encoded(IngestRequestSchema, correction, correction.requestId); // so that the error is of this correction
    yield correction;
  }
}

/** A character has 4 bytes at most. */
function bytesOf({ prompt, response, correction }: IngestRequest): number {
  return 4 * (prompt.length + response.length + correction.length);
}

/** A call and the queue that feeds it. */
class Call {
  readonly #waiting: Message[];
  readonly #responses: AsyncIterator<StreamIngestResponse>;
  readonly #stopped = new AbortController();
  #closed = false;
  #wake: () => void = () => undefined;

  constructor(open: Open, { timeoutMs, signal }: BulkOptions, unsettled: readonly IngestRequest[][]) {
    this.#waiting = unsettled.map((items) => ({ items }));
    const signals = [this.#stopped.signal, ...(signal ? [signal] : [])];
    this.#responses = open(this.#drain(), {
      signal: AbortSignal.any(signals),
      ...(timeoutMs !== undefined && { timeoutMs }),
    })[Symbol.asyncIterator]();
  }

  send(items: IngestRequest[]): void {
    this.#waiting.push({ items });
    this.#wake();
  }

  async receive(): Promise<StreamIngestResponse> {
    const next = await this.#responses.next();
    if (next.done) {
      throw new TransportError("The stream ended before its last results.", { code: Code.Unavailable });
    }
    return next.value;
  }

  async end(): Promise<void> {
    this.#closed = true;
    this.#wake();
    this.#stopped.abort();
    await this.#responses.return?.().catch(() => undefined);
  }

  async *#drain(): AsyncGenerator<Message, void, undefined> {
    while (!this.#closed) {
      const message = this.#waiting.shift();
      if (message) {
        yield message;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
