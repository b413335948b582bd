import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { ClientOptions } from "./calls.js";
import { clientOver, type CorrectionsClient } from "./client.js";

/** Return a client for browsers, over gRPC-Web. `baseUrl` is where the bridge or the proxy is. */
export function correctionsClient(baseUrl: string, options: ClientOptions = {}): CorrectionsClient {
  return clientOver(createGrpcWebTransport({ baseUrl }), options);
}
