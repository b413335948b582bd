import { Code, type CallOptions } from "@connectrpc/connect";
import { Backoff, STREAM_PAUSES, streamMayContinue } from "./backoff.js";
import { TransportError } from "./errors.js";
import type { Fields } from "./fields.js";
import { type Change, WatchRequestSchema, type WatchResponse } from "./gen/avocet/corrections/v1/corrections_pb.js";
import { checkState, digestOf, type Form, isCount, isRevision, isText } from "./saved_state.js";

type Request = Fields<typeof WatchRequestSchema>;
type Open = (request: Request, options: CallOptions) => AsyncIterable<WatchResponse>;

/** Which changes; where to begin, too, unless a state says so. */
export type ChangesRequest = Omit<Request, "resumeToken">;

/** Where a watch stands, behind the last change that was handed out; JSON values. */
export interface WatchState {
  readonly version: number;
  /** A digest of the filter and the actions. */
  readonly request: string;
  /** Every change up to this revision was handed out. */
  readonly revision: string;
  readonly resumeToken: string;
  /** The changes behind the token that were handed out: revision, id, file. */
  readonly taken: readonly Key[];
}

export interface ChangesOptions {
  /**
   * Go on where another watch stood. A `TypeError` says if it had another filter or other actions, or if this is not a
   * state at all.
   */
  readonly state?: WatchState;
  /** How long to wait for the service during an outage, in milliseconds. 300,000 if left out. */
  readonly retryForMs?: number;
  /** Bounds one stream; the next one continues it. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const VERSION = 1;
const FORM: Form<WatchState> = {
  version: isCount,
  request: isText,
  revision: isRevision,
  resumeToken: isText,
  taken: (value) => Array.isArray(value) && value.every(isKey),
};

/**
 * The changes of the store, each once and in order, across breaks of the stream; the iteration waits for more.
 *
 * It ends with `RevisionExpired` if changes that belong to it are no longer kept, with the last error of an outage
 * that outlasted `retryForMs`, and with `Canceled` when the signal aborts, also in an outage.
 */
export class Changes implements AsyncIterable<Change> {
  readonly #digest: string;
  #token = "";
  #revision: bigint;
  #taken: Key[] = [];

  constructor(
    private readonly open: Open,
    private readonly request: ChangesRequest,
    private readonly options: ChangesOptions,
  ) {
    const { filter, actions = [] } = request;
    const asked = { ...(filter && { filter }), actions: [...new Set(actions)].sort((one, other) => one - other) };
    this.#digest = digestOf(WatchRequestSchema, asked);
    this.#revision = request.sinceRevision ?? 0n;
    if (options.state !== undefined) {
      this.#load(options.state);
    }
  }

  /** Every change up to this revision was handed out; 0n before the first response. */
  get revision(): bigint {
    return this.#revision;
  }

  /** Where it stands now. Save it with what you made of the last change. */
  state(): WatchState {
    return {
      version: VERSION,
      request: this.#digest,
      revision: this.#revision.toString(),
      resumeToken: this.#token,
      taken: [...this.#taken],
    };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Change, void, undefined> {
    const { retryForMs = 300_000, signal } = this.options;
    const backoff = new Backoff(retryForMs, STREAM_PAUSES);
    for (;;) {
      try {
        yield* this.#stream(backoff);
      } catch (failure) {
        if (!streamMayContinue(failure)) {
          throw failure;
        }
        await backoff.pause(failure, signal);
      }
    }
  }

  #load(state: WatchState): void {
    checkState(state, VERSION, FORM);
    if (state.request !== this.#digest) {
      throw new TypeError("The state is of another watch. Ask for the same filter and actions.");
    }
    this.#revision = BigInt(state.revision);
    [this.#token, this.#taken] = [state.resumeToken, [...state.taken]];
  }

  /** One call: from behind what was handed out to its end. */
  async *#stream(backoff: Backoff): AsyncGenerator<Change, void, undefined> {
    const { signal, timeoutMs } = this.options;
    const behind = this.#token ? { sinceRevision: 0n, resumeToken: this.#token } : { sinceRevision: this.#revision };
    const options = { ...(signal && { signal }), ...(timeoutMs !== undefined && { timeoutMs }) };
    for await (const { changes, revision, resumeToken } of this.open({ ...this.request, ...behind }, options)) {
      const taken = new Set(this.#taken.map(nameOf));
      const keys = changes.map(keyOf);
      const fresh = changes.filter((_, place) => !taken.has(nameOf(keys[place]!)));
      backoff.progressed();
      const step = () => this.#step(resumeToken, revision, new Set(keys.map(nameOf)));
      for (const [place, change] of fresh.entries()) {
        this.#taken.push(keyOf(change));
        if (place === fresh.length - 1) {
          step();
        }
        yield change;
      }
      if (fresh.length === 0) {
        step();
      }
    }
    throw new TransportError("The server ended the stream.", { code: Code.Unavailable });
  }

  /** Behind a whole response. What of an earlier stream lies further on stays taken: a response may be cut elsewhere, or empty. */
  #step(resumeToken: string, revision: bigint, passed: ReadonlySet<string>): void {
    this.#token = resumeToken;
    this.#revision = revision;
    this.#taken = this.#taken.filter((key) => !passed.has(nameOf(key)));
  }
}

type Key = readonly [revision: string, id: string, file: number];

function isKey(value: unknown): boolean {
  return Array.isArray(value) && value.length === 3 && isRevision(value[0]) && isText(value[1]) && isCount(value[2]);
}

function keyOf({ revision, id, file }: Change): Key {
  return [revision.toString(), id, file];
}

function nameOf(key: Key): string {
  return key.join("\n");
}
