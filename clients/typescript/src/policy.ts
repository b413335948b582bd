import { create, type DescMessage, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Code, type Transport } from "@connectrpc/connect";
import { Backoff, CALL_PAUSES, callMayBeRepeated } from "./backoff.js";
import { Canceled, type CorrectionsError, DeadlineExceeded, errorOf, TransportError } from "./errors.js";
import { RETRIED_METHODS, TIMEOUTS_MS } from "./gen/deadlines.js";
import { encoded } from "./requests.js";

/** What every call of a client takes care of. */
export interface Policy {
  /** Sent as `authorization: Bearer` with every call; "" for none. */
  readonly token: string;
  /** For how long a single call is tried again, within its deadline. */
  readonly retryForMs: number;
}

/** 27 hours. gRPC's header has room for 8 digits, and a timer of more than 31 bits would fire at once. */
const MOST_TIMEOUT_MS = 99_999_999;
/** The error of `Headers` would show the token. */
const SENDABLE = /^[\x20-\x7e]*$/;
/** Deadline of a method that `service_config.json` does not name. */
const OTHER_TIMEOUT_MS = 20_000;

/**
 * Wrap a transport, so that each call has its method's deadline, a token and errors of this package. Reads are
 * repeated after a break, and so are writes that have a request id, which each such write gets here.
 *
 * What the caller did wrong is thrown before the transport sees it, so that whatever the transport throws is of the
 * wire.
 */
export function withPolicy(transport: Transport, policy: Policy): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const limitMs = limitOf(method, timeoutMs);
      const headers = withToken(header, policy);
      const [message, requestId] = withRequestId(method.input, input);
      encoded(method.input, message, requestId);
      const repeatable = RETRIED_METHODS.has(method.name) || requestId !== "";
      const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
      const backoff = new Backoff(policy.retryForMs, CALL_PAUSES);
      for (;;) {
        const leftMs = deadline === Infinity ? 0 : Math.max(1, deadline - Date.now());
        try {
          return await transport.unary(method, signal, leftMs, headers, message, contextValues);
        } catch (failure) {
          const error = callError(failure, signal, requestId);
          if (!repeatable || !callMayBeRepeated(error)) {
            throw error;
          }
          await backoff.pause(error, signal, deadline);
        }
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const headers = withToken(header, policy);
      const call = new StreamLife(signal, limitOf(method, timeoutMs));
      try {
        const sent = call.sent(method.input, input);
        const response = await transport.stream(method, call.signal, 0, headers, sent, contextValues);
        return { ...response, message: call.over(response.message) };
      } catch (failure) {
        throw call.ended(failure);
      }
    },
  };
}

/** How long a call may take, in whole milliseconds; 0 if it has no deadline. */
function limitOf(method: DescMethod, stated: number | undefined): number {
  const timeoutMs = stated ?? TIMEOUTS_MS[method.name] ?? OTHER_TIMEOUT_MS;
  if (!(timeoutMs >= 0)) {
    throw new RangeError(`timeoutMs must be a number of milliseconds, or 0 for no deadline; it is ${timeoutMs}.`);
  }
  return timeoutMs === Infinity ? 0 : Math.min(Math.ceil(timeoutMs), MOST_TIMEOUT_MS);
}

function withToken(header: HeadersInit | undefined, policy: Policy): Headers {
  const headers = new Headers(header);
  if (policy.token && !headers.has("authorization")) {
    if (!SENDABLE.test(policy.token)) {
      throw new TypeError("The token has a character that no header can carry: a line break, or one beyond ASCII.");
    }
    headers.set("authorization", `Bearer ${policy.token}`);
  }
  return headers;
}

/** The message with a request id, if its type has one, and that id. */
function withRequestId<D extends DescMessage>(desc: D, input: MessageInitShape<D>): [MessageShape<D>, string] {
  const message = create(desc, input);
  if (!desc.field["requestId"]) {
    return [message, ""];
  }
  const requestId = (message as { requestId?: string }).requestId || crypto.randomUUID();
  return [{ ...message, requestId }, requestId];
}

/** The deadline of one stream. It ends with the stream, or with its reader: a timer left behind keeps Node running. */
class StreamLife {
  readonly #ending = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  #isLate = false;
  /** What went wrong while a request was made. */
  #fault: { readonly error: unknown } | undefined;

  constructor(
    private readonly caller: AbortSignal | undefined,
    timeoutMs: number,
  ) {
    this.#timer = timeoutMs > 0 ? setTimeout(() => this.#expire(), timeoutMs) : undefined;
  }

  get signal(): AbortSignal {
    return this.caller ? AbortSignal.any([this.caller, this.#ending.signal]) : this.#ending.signal;
  }

  /** The requests, each checked before the transport gets it. One that is wrong, or cannot be made, ends the call. */
  async *sent<D extends DescMessage>(
    desc: D,
    input: AsyncIterable<MessageInitShape<D>>,
  ): AsyncGenerator<MessageShape<D>, void, undefined> {
    const requests = input[Symbol.asyncIterator]();
    try {
      for (let next = await this.#made(desc, requests); next; next = await this.#made(desc, requests)) {
        yield next;
      }
    } finally {
      await requests.return?.();
    }
  }

  async #made<D extends DescMessage>(
    desc: D,
    requests: AsyncIterator<MessageInitShape<D>>,
  ): Promise<MessageShape<D> | undefined> {
    try {
      const next = await requests.next();
      if (next.done) {
        return undefined;
      }
      const request = create(desc, next.value);
      encoded(desc, request);
      return request;
    } catch (error) {
      if (!this.signal.aborted) { // after that it may be an echo of what ended the call
        this.#fault = { error };
        this.#end();
      }
      throw error;
    }
  }

  async *over<T>(messages: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
    try {
      yield* messages;
    } catch (failure) {
      throw this.ended(failure);
    } finally {
      this.#end();
    }
  }

  /** What to throw for a stream that ended with this failure. */
  ended(failure: unknown): unknown {
    this.#end();
    if (this.#fault) {
      return this.#fault.error;
    }
    if (this.#isLate) {
      return new DeadlineExceeded("The stream took too long.", { code: Code.DeadlineExceeded, cause: failure });
    }
    return callError(failure, this.caller);
  }

  #expire(): void {
    this.#isLate = true;
    this.#end();
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#ending.abort();
  }
}

/** The error of a call. Node reports a server that dies as Canceled, too: only the caller's signal tells the two. */
function callError(failure: unknown, signal: AbortSignal | undefined, requestId = ""): CorrectionsError {
  const error = errorOf(failure, requestId);
  if (error instanceof Canceled && !signal?.aborted) {
    return new TransportError(error.message, { code: Code.Unavailable, requestId, cause: error.cause });
  }
  return error;
}
