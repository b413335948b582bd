import { type CallOptions, createClient, type Transport } from "@connectrpc/connect";
import { type BulkOptions, type Correction, ingestMany, type IngestResult } from "./bulk.js";
import { type Calls, callsOver, type ClientOptions, kept, uploadPartOver } from "./calls.js";
import { Changes, type ChangesOptions, type ChangesRequest } from "./changes.js";
import { Claims, type ClaimsOptions } from "./claims.js";
import { type Decision, type DecisionResult, submitMany } from "./decisions.js";
import { Export, type ExportOptions, type ExportRequest } from "./exports.js";
import type { UploadRunResponse } from "./gen/avocet/corrections/v1/corrections_pb.js";
import { Health, HealthCheckResponse_ServingStatus } from "./gen/grpc_health/v1/health_pb.js";
import { type Pages, pagesOver } from "./pages.js";
import { type RunSource, type UploadOptions, uploadRun } from "./upload.js";

/** What a client offers beside the service's own methods. */
export interface Conveniences extends Pages {
  /** Iterate over the approved examples, as they are at one revision. */
  export(request?: ExportRequest, options?: ExportOptions): Export;
  /** Iterate over the changes of the store as they are committed. */
  changes(request?: ChangesRequest, options?: ChangesOptions): Changes;
  /** Return an empty set of claims, which renew themselves. */
  claims(options?: ClaimsOptions): Claims;
  /** Decide many candidates, in batches of one commit each. */
  submitMany(
    decisions: Iterable<Decision> | AsyncIterable<Decision>,
    options?: CallOptions,
  ): AsyncGenerator<DecisionResult, void, undefined>;
  /** Send a run's JSONL file and import it. */
  sendRun(runId: string, source: RunSource, options?: UploadOptions): Promise<UploadRunResponse>;
  /** Store many corrections over one stream. Not over gRPC-Web: no browser can send a stream. */
  ingestMany(
    corrections: Iterable<Correction> | AsyncIterable<Correction>,
    options?: BulkOptions,
  ): AsyncGenerator<IngestResult, void, undefined>;
  /** Return `SERVING`, or how else the server is: of the whole, or of one of its services. */
  health(service?: string, options?: CallOptions): Promise<keyof typeof HealthCheckResponse_ServingStatus>;
}

/** The service's methods, as `corrections.proto` documents them, and some conveniences over them. */
export type CorrectionsClient = Calls & Conveniences;

/** Return a client over a transport of your own. `./node` and `./web` have one that makes the transport, too. */
export function clientOver(transport: Transport, options: ClientOptions = {}): CorrectionsClient {
  const steady = kept(transport, options);
  const calls = callsOver(steady);
  const uploadPart = uploadPartOver(steady);
  const health = createClient(Health, steady);
  const conveniences: Conveniences = {
    ...pagesOver(calls),
    export: (request = {}, exportOptions = {}) => new Export(calls.streamExport, request, exportOptions),
    changes: (request = {}, changesOptions = {}) => new Changes(calls.watch, request, changesOptions),
    claims: (claimsOptions = {}) => new Claims(calls, claimsOptions),
    submitMany: (decisions, callOptions) => submitMany(calls, decisions, callOptions),
    sendRun: (runId, source, uploadOptions) => uploadRun(calls, uploadPart, runId, source, uploadOptions),
    ingestMany: (corrections, bulkOptions = {}) => ingestMany(calls.streamIngest, corrections, bulkOptions),
    async health(service = "", callOptions) {
      const { status } = await health.check({ service }, callOptions);
      return HealthCheckResponse_ServingStatus[status] as keyof typeof HealthCheckResponse_ServingStatus;
    },
  };
  return Object.assign(calls, conveniences);
}
