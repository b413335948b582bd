import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { type Calls, callsOver, type ClientOptions, kept, uploadPartOver } from "./calls.js";
import { Claims, type ClaimsOptions } from "./claims.js";
import type { UploadRunResponse } from "./gen/avocet/corrections/v1/corrections_pb.js";
import { type Pages, pagesOver } from "./pages.js";
import { type RunSource, type UploadOptions, uploadRun } from "./upload.js";

/** What the review page needs of a client. Exports and bulk ingestion are left out, so that no browser loads them. */
export interface ReviewClient extends Calls, Pages {
  claims(options?: ClaimsOptions): Claims;
  sendRun(runId: string, source: RunSource, options?: UploadOptions): Promise<UploadRunResponse>;
}

export interface ReviewOptions extends ClientOptions {
  /** Sends the requests in place of the browser's own `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
}

/** Return the review page's client, over gRPC-Web. `baseUrl` is where the bridge or the proxy is. */
export function reviewClient(baseUrl: string, options: ReviewOptions = {}): ReviewClient {
  const { fetch } = options;
  const steady = kept(createGrpcWebTransport({ baseUrl, ...(fetch && { fetch }) }), options);
  const calls = callsOver(steady);
  const uploadPart = uploadPartOver(steady);
  return Object.assign(calls, {
    ...pagesOver(calls),
    claims: (claimsOptions: ClaimsOptions = {}) => new Claims(calls, claimsOptions),
    sendRun: (runId: string, source: RunSource, uploadOptions: UploadOptions = {}) =>
      uploadRun(calls, uploadPart, runId, source, uploadOptions),
  });
}
