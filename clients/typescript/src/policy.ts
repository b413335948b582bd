import { create, type DescMessage, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Code, type Transport } from "@connectrpc/connect";
import { Backoff, CALL_PAUSES, callMayBeRepeated } from "./backoff.js";
import { Canceled, type CorrectionsError, DeadlineExceeded, errorOf, TransportError } from "./errors.js";
import { RETRIED_METHODS, TIMEOUTS_MS } from "./gen/deadlines.js";

/** What every call of a client takes care of. */
export interface Policy {
  /** Sent as `authorization: Bearer` with every call; "" for none. */
  readonly token: string;
  /** For how long a single call is tried again, within its deadline. */
  readonly retryForMs: number;
}

/** A longer timer would fire at once. */
const MOST_TIMER_MS = 2 ** 31 - 1;
/** Deadline of a method that `service_config.json` does not name. */
const OTHER_TIMEOUT_MS = 20_000;

/**
 * Wrap a transport, so that each call has its method's deadline, a token and errors of this package. Reads are
 * repeated after a break, and so are writes that have a request id, which each such write gets here.
 */
export function withPolicy(transport: Transport, policy: Policy): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const [message, requestId] = withRequestId(method.input, input);
      const repeatable = RETRIED_METHODS.has(method.name) || requestId !== "";
      const limitMs = timeoutMs ?? timeoutOf(method);
      const deadline = limitMs > 0 ? Date.now() + limitMs : Infinity;
      const backoff = new Backoff(policy.retryForMs, CALL_PAUSES);
      for (;;) {
        const leftMs = deadline === Infinity ? 0 : Math.max(1, deadline - Date.now());
        try {
          return await transport.unary(method, signal, leftMs, withToken(header, policy), message, contextValues);
        } catch (failure) {
          const error = callError(failure, signal, requestId);
          if (!repeatable || !callMayBeRepeated(error) || Date.now() >= deadline) {
            throw error;
          }
          await backoff.pause(error, signal);
        }
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const call = new StreamLife(signal, timeoutMs ?? timeoutOf(method));
      try {
        const headers = withToken(header, policy);
        const response = await transport.stream(method, call.signal, 0, headers, input, contextValues);
        return { ...response, message: call.over(response.message) };
      } catch (failure) {
        throw call.ended(failure);
      }
    },
  };
}

function timeoutOf(method: DescMethod): number {
  return TIMEOUTS_MS[method.name] ?? OTHER_TIMEOUT_MS;
}

function withToken(header: HeadersInit | undefined, policy: Policy): Headers {
  const headers = new Headers(header);
  if (policy.token && !headers.has("authorization")) {
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

  constructor(
    private readonly caller: AbortSignal | undefined,
    timeoutMs: number,
  ) {
    this.#timer = timeoutMs > 0 ? setTimeout(() => this.#expire(), Math.min(timeoutMs, MOST_TIMER_MS)) : undefined;
  }

  get signal(): AbortSignal {
    return this.caller ? AbortSignal.any([this.caller, this.#ending.signal]) : this.#ending.signal;
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

  ended(failure: unknown): CorrectionsError {
    this.#end();
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
