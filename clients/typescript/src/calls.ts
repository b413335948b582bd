import { type CallOptions, type Client, createClient, type Transport } from "@connectrpc/connect";
import type { DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import {
  CorrectionsService,
  type UploadRunRequestSchema,
  type UploadRunResponse,
  type UploadRunResponseSchema,
} from "./gen/avocet/corrections/v1/corrections_pb.js";
import { withPolicy } from "./policy.js";
import { streamingMethods } from "./streams.js";

export interface ClientOptions {
  /** Sent as `authorization: Bearer` with every call. */
  readonly token?: string;
  /** For how long a single call is tried again after a break, within its deadline. 10,000 if left out. */
  readonly retryForMs?: number;
}

/** The service's methods, as `corrections.proto` documents them. */
export type Calls = Client<typeof CorrectionsService>;

/** Wrap a transport, so that calls over it have deadlines, repeats and this package's errors. */
export function kept(transport: Transport, options: ClientOptions = {}): Transport {
  return withPolicy(transport, { token: options.token ?? "", retryForMs: options.retryForMs ?? 10_000 });
}

/** Return the service's methods over a transport that is `kept`. */
export function callsOver(transport: Transport): Calls {
  return Object.assign(createClient(CorrectionsService, transport), streamingMethods(transport));
}

export type UploadPart = (
  part: MessageInitShape<typeof UploadRunRequestSchema>,
  options?: CallOptions,
) => Promise<UploadRunResponse>;

/** Return `UploadRun` with a single message: on the wire it is as any unary call, so a browser can make it. */
export function uploadPartOver(transport: Transport): UploadPart {
  const method = { ...CorrectionsService.method.uploadRun, methodKind: "unary" } as unknown as DescMethodUnary<
    typeof UploadRunRequestSchema,
    typeof UploadRunResponseSchema
  >;
  return async (part, { signal, timeoutMs, headers, contextValues } = {}) =>
    (await transport.unary(method, signal, timeoutMs, headers, part, contextValues)).message;
}
