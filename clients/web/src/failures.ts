import {
  CandidateNotFound,
  CandidateStatus,
  Conflict,
  CorrectionsError,
  InternalError,
  InvalidField,
  Overloaded,
  StorageFull,
  TransportError,
  TryLater,
  Unauthorized,
} from "@avocet/client";

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

/** Say in words what went wrong. */
export function noticeOf(thrown: unknown): Notice {
  const message = thrown instanceof Error ? thrown.message : `${thrown}`;
  const kind = failureOf(thrown);
  if (thrown instanceof InvalidField) {
    const fields = thrown.fieldViolations.map(({ field, description }) => `${field}: ${description}`);
    return { kind: "field", text: fields.join("; ") || message };
  }
  if (kind === "full") {
    return { kind: "wrong", text: `The disk of the service is full: nothing was stored. Your text is kept. ${message}` };
  }
  if (thrown instanceof InternalError) {
    const copy = thrown.metadata["correlation_id"];
    return { kind: "wrong", text: `${message} (${copy ?? "no correlation id"})`, ...(copy && { copy }) };
  }
  const known = kind === "token" || kind === "away" || kind === "busy";
  const reason = thrown instanceof CorrectionsError && !known ? ` (${thrown.reason || thrown.code})` : "";
  return { kind: "wrong", text: message + reason };
}

/** Say in words how a candidate stands that somebody else was faster with. */
export function standing(status: CandidateStatus | undefined, holder: string): string {
  if (status === CandidateStatus.NEEDS_REVIEW) {
    return holder ? `it is now with ${holder}` : "it has changed, and is shown again";
  }
  return status === undefined ? "it is gone" : `it is now ${CandidateStatus[status].toLowerCase().replaceAll("_", " ")}`;
}
