import {
  CandidateNotFound,
  CandidateStatus,
  Conflict,
  CorrectionsError,
  InvalidField,
  Overloaded,
  StorageFull,
  TransportError,
  TryLater,
  Unauthorized,
} from "@avocet/client";
import { statusOf } from "./words.js";

/** Something to be told: what was done, or what went wrong. */
export interface Notice {
  readonly kind: "done" | "conflict" | "field" | "wrong";
  readonly text: string;
  readonly canUndo?: boolean;
  /** Somewhere to look, by its address in the page. */
  readonly link?: string;
  /** Something that the reviewer may have to hand on. */
  readonly copy?: string;
}

/** What a failed call asks the page to do. */
export type Failure = "token" | "conflict" | "field" | "full" | "busy" | "away" | "other";

/** Sort a failure by its reason. */
export function failureOf(thrown: unknown): Failure {
  if (thrown instanceof Unauthorized) {
    return "token";
  }
  if (thrown instanceof Conflict || thrown instanceof CandidateNotFound) {
    return "conflict";
  }
  if (thrown instanceof InvalidField) {
    return "field";
  }
  if (thrown instanceof StorageFull) {
    return "full";
  }
  if (thrown instanceof Overloaded) {
    return "busy";
  }
  return thrown instanceof TransportError || thrown instanceof TryLater ? "away" : "other";
}

/** For how long the service asks to wait; undefined if it does not say. */
export function pauseOf(thrown: unknown): number | undefined {
  return thrown instanceof CorrectionsError ? thrown.retryAfterMs : undefined;
}

const AGAIN = "Your text is kept. Send it again: it cannot be stored twice.";
/** What the page adds to the service's own sentence, by the reason. Conflicts and tokens have more than a sentence. */
const ADDED: Readonly<Record<string, string>> = {
  STORAGE_FULL: "Your text is kept, and reading goes on.",
  STORAGE_FAILED: AGAIN,
  STORAGE_UNREACHABLE: AGAIN,
  CALL_TOO_LONG: AGAIN,
  SHUTTING_DOWN: AGAIN,
  INTERNAL: "Your text is kept. Send it again; if that does not help, hand the id on.",
};

/** Say in words what went wrong, and what to do. */
export function noticeOf(thrown: unknown): Notice {
  const message = thrown instanceof Error ? thrown.message : `${thrown}`;
  if (!(thrown instanceof CorrectionsError)) {
    return { kind: "wrong", text: message };
  }
  const { reason } = thrown;
  if (thrown instanceof InvalidField) {
    const fields = thrown.fieldViolations.map(({ field, description }) => `${field}: ${description}`);
    return { kind: "field", text: fields.join("; ") || message };
  }
  if (thrown instanceof Overloaded) {
    const seconds = Math.ceil((thrown.retryAfterMs ?? 2_000) / 1_000);
    return { kind: "wrong", text: `${message} The page tries again in ${seconds} s.` };
  }
  const added = ADDED[reason];
  if (added !== undefined) {
    const copy = thrown.metadata["correlation_id"];
    return { kind: "wrong", text: `${message} ${added}`, ...(copy && { copy }) };
  }
  const isSaid = thrown instanceof Unauthorized || thrown instanceof TransportError;
  return { kind: "wrong", text: isSaid ? message : `${message} (${reason || thrown.code})` };
}

/** Say in words how a candidate stands that somebody else was faster with. */
export function standing(status: CandidateStatus | undefined, holder: string): string {
  if (status === CandidateStatus.NEEDS_REVIEW) {
    return holder ? `it is now with ${holder}` : "it has changed, and is shown again";
  }
  return status === undefined ? "it is gone" : `it is now ${statusOf(status)}`;
}

/** What a read returns of a candidate that is gone. Throws again what else went wrong. */
export function nothingIfGone(thrown: unknown): undefined {
  if (failureOf(thrown) !== "conflict") {
    throw thrown;
  }
}
