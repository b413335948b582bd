// Generated from service_config.json; do not edit.

/** Each method's deadline in milliseconds, for a call that states none. */
export const TIMEOUTS_MS: Readonly<Record<string, number>> = {
  GetCandidate: 10_000,
  GetConfig: 10_000,
  GetVersion: 10_000,
  Import: 300_000,
  Ingest: 20_000,
  ListRuns: 10_000,
  Queue: 10_000,
  SetConfig: 20_000,
  Stats: 10_000,
  StreamExport: 3_600_000,
  StreamIngest: 3_600_000,
  Submit: 20_000,
  Undo: 20_000,
};

/** The methods that may be repeated without a request id. */
export const RETRIED_METHODS: ReadonlySet<string> = new Set([
  "GetCandidate",
  "GetConfig",
  "GetVersion",
  "ListRuns",
  "Queue",
  "Stats",
]);
