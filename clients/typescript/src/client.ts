import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";
import { type BulkOptions, type Correction, ingestMany, type IngestResult } from "./bulk.js";
import { Export, type ExportOptions, type ExportRequest } from "./exports.js";
import {
  type Candidate,
  type CandidateFilterSchema,
  CorrectionsService,
  type Order,
  type Run,
} from "./gen/avocet/corrections/v1/corrections_pb.js";
import { withPolicy } from "./policy.js";
import { streamingMethods } from "./streams.js";

export interface ClientOptions {
  /** Sent as `authorization: Bearer` with every call. */
  readonly token?: string;
  /** For how long a single call is tried again after a break, within its deadline. 10,000 if left out. */
  readonly retryForMs?: number;
}

/** Which candidates in review, and in which order. */
export interface CandidatesRequest {
  readonly filter?: MessageInitShape<typeof CandidateFilterSchema>;
  readonly order?: Order;
  /** How many are fetched at a time: at most 500; 0 or left out means 20. */
  readonly perPage?: number;
}

/** What a client offers beside the service's own methods. */
export interface Conveniences {
  /** Iterate over the candidates in review that match, page by page; each that stays in review comes once. */
  candidates(request?: CandidatesRequest, options?: CallOptions): AsyncGenerator<Candidate, void, undefined>;
  /** Iterate over the benchmark runs, newest name first. */
  runs(options?: CallOptions): AsyncGenerator<Run, void, undefined>;
  /** Iterate over the approved examples, as they are at one revision. */
  export(request?: ExportRequest, options?: ExportOptions): Export;
  /** Store many corrections over one stream. Not over gRPC-Web: no browser can send a stream. */
  ingestMany(
    corrections: Iterable<Correction> | AsyncIterable<Correction>,
    options?: BulkOptions,
  ): AsyncGenerator<IngestResult, void, undefined>;
}

/** The service's methods, as `corrections.proto` documents them, and some conveniences over them. */
export type CorrectionsClient = Client<typeof CorrectionsService> & Conveniences;

/** Return a client over a transport of your own. `./node` and `./web` have one that makes the transport, too. */
export function clientOver(transport: Transport, options: ClientOptions = {}): CorrectionsClient {
  const policy = { token: options.token ?? "", retryForMs: options.retryForMs ?? 10_000 };
  const kept = withPolicy(transport, policy);
  const calls = Object.assign(createClient(CorrectionsService, kept), streamingMethods(kept));
  const conveniences: Conveniences = {
    async *candidates(request = {}, callOptions) {
      let pageToken = "";
      do {
        const page = await calls.queue({ ...request, pageToken }, callOptions);
        yield* page.items;
        pageToken = page.nextPageToken;
      } while (pageToken);
    },
    async *runs(callOptions) {
      let pageToken = "";
      do {
        const page = await calls.listRuns({ pageSize: 500, pageToken }, callOptions);
        yield* page.runs;
        pageToken = page.nextPageToken;
      } while (pageToken);
    },
    export: (request = {}, exportOptions = {}) => new Export(calls.streamExport, request, exportOptions),
    ingestMany: (corrections, bulkOptions = {}) => ingestMany(calls.streamIngest, corrections, bulkOptions),
  };
  return Object.assign(calls, conveniences);
}
