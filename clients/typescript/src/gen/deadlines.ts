// Generated from service_config.json; do not edit.

/** Each method's deadline in milliseconds, for a call that states none. */
export const TIMEOUTS_MS: Readonly<Record<string, number>> = {
  BatchSubmit: 20_000,
  Claim: 20_000,
  CreateSnapshot: 20_000,
  DeleteSnapshot: 20_000,
  GetCandidate: 10_000,
  GetConfig: 10_000,
  GetSnapshot: 10_000,
  GetVersion: 10_000,
  Import: 300_000,
  Ingest: 20_000,
  ListCandidates: 10_000,
  ListHistory: 10_000,
  ListRuns: 10_000,
  ListSnapshots: 10_000,
  Queue: 10_000,
  ReleaseClaims: 20_000,
  RenewClaims: 20_000,
  SetConfig: 20_000,
  Stats: 10_000,
  StreamExport: 3_600_000,
  StreamIngest: 3_600_000,
  Submit: 20_000,
  Undo: 20_000,
  UploadRun: 300_000,
  Watch: 3_600_000,
};

/** The methods that may be repeated without a request id. */
export const RETRIED_METHODS: ReadonlySet<string> = new Set([
  "GetCandidate",
  "GetConfig",
  "GetSnapshot",
  "GetVersion",
  "ListCandidates",
  "ListHistory",
  "ListRuns",
  "ListSnapshots",
  "Queue",
  "Stats",
]);
