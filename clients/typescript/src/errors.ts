import { Code, ConnectError } from "@connectrpc/connect";
import { createRegistry, fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, type Any } from "@bufbuild/protobuf/wkt";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema, type Status } from "./gen/google/rpc/status_pb.js";

const DOMAIN = "avocet.corrections.v1";
const ENDED_CONNECTION = new Set<unknown>(["ERR_HTTP2_SESSION_ERROR", "ERR_HTTP2_GOAWAY_SESSION"]);
/** Part of what Node says if a connection takes no further call. The code of that error has other meanings, too. */
const CALM = "NGHTTP2_ENHANCE_YOUR_CALM";
const DETAILS = createRegistry(BadRequestSchema, ErrorInfoSchema, RetryInfoSchema);

/** A field of the request at fault: its path, for example `filter.min_quality_score`, and what is wrong with it. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What is known of a call that failed. */
export interface ErrorFacts {
  readonly code: Code;
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly retryAfterMs?: number;
  readonly requestId?: string;
  readonly cause?: unknown;
}

/** A call that failed; the root of all errors of this package. */
export class CorrectionsError extends Error {
  /** The gRPC status code. */
  readonly code: Code;
  /** The name in `ErrorReason` without its prefix, or "" if the service did not answer. */
  readonly reason: string;
  /** What `error_reason.proto` documents for the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly fieldViolations: readonly FieldViolation[];
  /** How long the server asks to wait before another try. */
  readonly retryAfterMs: number | undefined;
  /** That of a write, else "". Give it again to repeat the write without storing it twice. */
  readonly requestId: string;

  constructor(message: string, facts: ErrorFacts) {
    super(message, { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code;
    this.reason = facts.reason ?? "";
    this.metadata = facts.metadata ?? {};
    this.fieldViolations = facts.fieldViolations ?? [];
    this.retryAfterMs = facts.retryAfterMs;
    this.requestId = facts.requestId ?? "";
  }
}

/** A field is not valid, or a token or request id was used with other content; `fieldViolations` names it. */
export class InvalidField extends CorrectionsError {}
/** What the call names does not exist. */
export class NotFound extends CorrectionsError {}
export class CandidateNotFound extends NotFound {}
export class RunNotFound extends NotFound {}
export class SnapshotNotFound extends NotFound {}
/** The candidate is not as the call supposes; read it again, then decide. */
export class Conflict extends CorrectionsError {}
/** It was decided before; `metadata.current_status` has how. */
export class NotInReview extends Conflict {}
/** There is nothing to undo. */
export class AlreadyInReview extends Conflict {}
/** It has changed since it was read; `metadata.current_revision` has its revision. */
export class RevisionMismatch extends Conflict {}
/** Somebody else holds the candidate; `metadata.reviewer` has who. */
export class Claimed extends Conflict {}
/** The claim has ended; somebody else may be at work on the candidate. */
export class ClaimLost extends Conflict {}
export class SnapshotExists extends Conflict {}
/** The revision or resume token is no longer kept; start the export again from the beginning. */
export class RevisionExpired extends CorrectionsError {}
/** The call's token is missing or not good enough. */
export class Unauthorized extends CorrectionsError {}
export class TokenMissing extends Unauthorized {}
export class TokenRefused extends Unauthorized {}
/** The server cannot do it now; keep the data, and call again after a pause. */
export class TryLater extends CorrectionsError {}
/** The server accepts no corrections until its operator sets an ingestion secret. */
export class IngestionNotConfigured extends TryLater {}
/** The server's disk is full; nothing was stored, except for what an import had stored before. */
export class StorageFull extends TryLater {}
/** Too many calls at once; nothing was stored, except for what an import had stored before. */
export class Overloaded extends TryLater {}
/** The server is stopping and has not begun the call; nothing was stored. */
export class ShuttingDown extends TryLater {}
/** The server's storage failed; whether the change was stored is unknown. Repeat a write with its `requestId`. */
export class StorageFailed extends TryLater {}
/** The server cannot reach its store now; whether the change was stored is unknown. */
export class StorageUnreachable extends TryLater {}
/** The server's config file is not valid YAML or cannot be written; somebody has to repair it by hand. */
export class ConfigUnreadable extends CorrectionsError {}
/** Something unforeseen; the server's log has it under `metadata.correlation_id`. */
export class InternalError extends CorrectionsError {}
/** The call took longer than the server lets any call take; whether a change was stored is unknown. */
export class CallTooLong extends CorrectionsError {}
/** A single message is longer than the service takes. It was not sent, and sending it again does not help. */
export class RequestTooLarge extends CorrectionsError {}
/** The service gave a reason that this version does not know; `code` and `message` tell what they can. */
export class UnknownReason extends CorrectionsError {}
/** The service did not answer. Whether a write was stored is unknown; repeat it with its `requestId`. */
export class TransportError extends CorrectionsError {}
/** The answer did not come in time. Whether a write was stored is unknown; repeat it with its `requestId`. */
export class DeadlineExceeded extends TransportError {}
/** The caller's own signal ended the call. */
export class Canceled extends TransportError {}
/** What arrived is not what the server says it sent. Single examples are good; some may be missing. */
export class ExportCorrupted extends CorrectionsError {
  constructor(what: string) {
    super(`The export came incomplete; start it again from the beginning. ${what}`, { code: Code.DataLoss });
  }
}

type ErrorClass = new (message: string, facts: ErrorFacts) => CorrectionsError;

/** The class of each reason of `error_reason.proto`. */
export const ERRORS_BY_REASON: Readonly<Record<string, ErrorClass>> = {
  INVALID_FIELD: InvalidField,
  CANDIDATE_NOT_FOUND: CandidateNotFound,
  RUN_NOT_FOUND: RunNotFound,
  SNAPSHOT_NOT_FOUND: SnapshotNotFound,
  NOT_IN_REVIEW: NotInReview,
  ALREADY_IN_REVIEW: AlreadyInReview,
  REVISION_MISMATCH: RevisionMismatch,
  CLAIMED: Claimed,
  CLAIM_LOST: ClaimLost,
  SNAPSHOT_EXISTS: SnapshotExists,
  REVISION_EXPIRED: RevisionExpired,
  TOKEN_MISSING: TokenMissing,
  TOKEN_REFUSED: TokenRefused,
  INGESTION_NOT_CONFIGURED: IngestionNotConfigured,
  STORAGE_FULL: StorageFull,
  OVERLOADED: Overloaded,
  SHUTTING_DOWN: ShuttingDown,
  STORAGE_FAILED: StorageFailed,
  STORAGE_UNREACHABLE: StorageUnreachable,
  CONFIG_UNREADABLE: ConfigUnreadable,
  INTERNAL: InternalError,
  CALL_TOO_LONG: CallTooLong,
};

/** Return the error of a call that failed with anything. */
export function errorOf(failure: unknown, requestId = ""): CorrectionsError {
  if (failure instanceof CorrectionsError) {
    return failure;
  }
  const error = ConnectError.from(failure);
  const details = error.details.flatMap((each) =>
    "type" in each && each.value instanceof Uint8Array ? [unpack(each.type, each.value)] : [],
  );
  const code = error.code === Code.Internal && lostConnection(failure) ? Code.Unavailable : error.code;
  return made(error.rawMessage, code, details, requestId, failure);
}

/**
 * Whether the failure is of the connection, not of the call; connect-node tells few of these. If the operating system
 * reported it, Node names the system call. Node has codes for a connection that HTTP/2 ended.
 */
function lostConnection(failure: unknown): boolean {
  const seen = new Set<unknown>();
  for (let each = failure; each instanceof Error && !seen.has(each); each = each.cause) {
    seen.add(each);
    if ("syscall" in each || ("code" in each && ENDED_CONNECTION.has(each.code)) || each.message.includes(CALM)) {
      return true;
    }
  }
  return false;
}

/** Return the error that a `google.rpc.Status` describes. */
export function errorOfStatus(status: Status, requestId = ""): CorrectionsError {
  const details = status.details.map((each: Any) => anyUnpack(each, DETAILS));
  return made(status.message, status.code, details, requestId, undefined);
}

/** Return the reason of anything that was thrown: a name in `ErrorReason` without its prefix, or "". */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof CorrectionsError ? thrown.reason : "";
}

type Detail = ReturnType<typeof anyUnpack>;

function unpack(type: string, value: Uint8Array): Detail {
  const schema = DETAILS.getMessage(type);
  try {
    return schema && fromBinary(schema, value);
  } catch {
    return undefined; // not a message of that type: some proxy's own
  }
}

function made(message: string, code: Code, details: Detail[], requestId: string, cause: unknown): CorrectionsError {
  let reason: string | undefined;
  let metadata: Record<string, string> = {};
  let retryAfterMs: number | undefined;
  const fieldViolations: FieldViolation[] = [];
  for (const detail of details) {
    if (is(detail, ErrorInfoSchema) && detail.domain === DOMAIN) {
      ({ reason, metadata } = detail);
    } else if (is(detail, BadRequestSchema)) {
      fieldViolations.push(...detail.fieldViolations.map(({ field, description }) => ({ field, description })));
    } else if (is(detail, RetryInfoSchema) && detail.retryDelay) {
      retryAfterMs = Number(detail.retryDelay.seconds) * 1_000 + detail.retryDelay.nanos / 1_000_000;
    }
  }
  const facts: ErrorFacts = {
    code,
    requestId,
    metadata,
    fieldViolations,
    cause,
    ...(reason !== undefined && { reason }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
  const kind = reason === undefined ? transportClass(code) : (ERRORS_BY_REASON[reason] ?? UnknownReason);
  return new kind(message || Code[code], facts);
}

function transportClass(code: Code): ErrorClass {
  if (code === Code.DeadlineExceeded) {
    return DeadlineExceeded;
  }
  return code === Code.Canceled ? Canceled : TransportError;
}

function is<S extends typeof ErrorInfoSchema | typeof BadRequestSchema | typeof RetryInfoSchema>(
  detail: Detail,
  schema: S,
): detail is Detail & Shape<S> {
  return detail?.$typeName === schema.typeName;
}

type Shape<S> = S extends import("@bufbuild/protobuf").DescMessage ? import("@bufbuild/protobuf").MessageShape<S> : never;

export { StatusSchema };
