import { Code } from "@connectrpc/connect";
import {
  CallTooLong,
  Canceled,
  CorrectionsError,
  Overloaded,
  ShuttingDown,
  StorageFailed,
  StorageUnreachable,
  TransportError,
} from "./errors.js";

/** How pauses grow: from the first to the longest, each shortened at random by up to a half. */
export interface Pauses {
  readonly firstMs: number;
  readonly longestMs: number;
}

export const CALL_PAUSES: Pauses = { firstMs: 100, longestMs: 2_000 };
export const STREAM_PAUSES: Pauses = { firstMs: 200, longestMs: 10_000 };

const PASSING = new Set([
  Code.Unavailable,
  Code.Internal,
  Code.Unknown,
  Code.DeadlineExceeded,
  // A connection that is reset arrives as Aborted from Node. The service's own Aborted has a reason.
  Code.Aborted,
]);

/** Decides when to try again after a break, and when to give up. */
export class Backoff {
  #since: number | undefined;
  #nextMs: number;

  constructor(
    private readonly retryForMs: number,
    private readonly pauses: Pauses,
  ) {
    if (!(retryForMs >= 0)) {
      throw new RangeError(`retryForMs must be a number of milliseconds from 0; it is ${retryForMs}.`);
    }
    this.#nextMs = pauses.firstMs;
  }

  /** Something arrived: the next break begins a new outage. */
  progressed(): void {
    this.#since = undefined;
    this.#nextMs = this.pauses.firstMs;
  }

  /**
   * Wait before the next try. Throws the error itself if the outage has lasted too long, or if the try would come after
   * the deadline. Throws `Canceled` if `signal` aborts.
   */
  async pause(error: CorrectionsError, signal?: AbortSignal, deadline = Infinity): Promise<void> {
    throwIfAborted(signal, error);
    const now = Date.now();
    this.#since ??= now;
    const pauseMs = Math.max(this.#nextMs * (0.5 + Math.random() / 2), error.retryAfterMs ?? 0);
    if (now + pauseMs > Math.min(this.#since + this.retryForMs, deadline)) {
      throw error;
    }
    this.#nextMs = Math.min(this.#nextMs * 2, this.pauses.longestMs);
    await sleep(pauseMs, signal);
    throwIfAborted(signal, error);
  }
}

/** Whether another try of a single call can help, and cannot store anything twice if it carries a request id. */
export function callMayBeRepeated(error: CorrectionsError): boolean {
  if (error instanceof TransportError) {
    return error.code === Code.Unavailable || error.code === Code.Aborted;
  }
  return error instanceof ShuttingDown || error instanceof StorageFailed || error instanceof StorageUnreachable;
}

/**
 * Whether a stream that ended with this failure is worth continuing. All that comes from the wire is a
 * `CorrectionsError`; anything else is a mistake on this side, which would only come again.
 */
export function streamMayContinue(error: unknown): error is CorrectionsError {
  if (!(error instanceof CorrectionsError) || error instanceof Canceled) {
    return false;
  }
  if (error instanceof TransportError) {
    return PASSING.has(error.code);
  }
  return callMayBeRepeated(error) || error instanceof Overloaded || error instanceof CallTooLong;
}

/** The caller has ended the call, whatever the outage would have made of it. */
function throwIfAborted(signal: AbortSignal | undefined, cause: CorrectionsError): void {
  if (signal?.aborted) {
    const { requestId } = cause;
    throw new Canceled("The caller's signal ended the call.", { code: Code.Canceled, requestId, cause });
  }
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
