import { createGrpcTransport, createGrpcWebTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ClientOptions } from "./calls.js";
import { clientOver, type CorrectionsClient } from "./client.js";

/** TLS to the server, each part in PEM. Without `ca` Node's own list of authorities counts. */
export interface Tls {
  readonly ca?: string | Buffer;
  /** The client's own certificate, for a server that asks for one. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

export interface NodeClientOptions extends ClientOptions {
  readonly tls?: Tls;
  /** `grpc-web` goes through a proxy of HTTP/1.1, and cannot `ingestMany`. */
  readonly protocol?: "grpc" | "grpc-web";
}

/** The server closes a connection whose pings are less than 10 seconds apart. */
const PING_INTERVAL_MS = 60_000;

/** Node keeps a stream that was given up until its data is read, and with it the connection and the process. */
class Sessions extends Http2SessionManager {
  override async request(...call: Parameters<Http2SessionManager["request"]>) {
    const stream = await super.request(...call);
    const close = stream.close.bind(stream);
    stream.close = (code, done) => {
      close(code, done);
      stream.destroy();
    };
    return stream;
  }
}

/** Return a client of the service at `HOST:PORT`, or at a URL. It connects at its first call. */
export function correctionsClient(address: string, options: NodeClientOptions = {}): CorrectionsClient {
  const { tls, protocol = "grpc", ...rest } = options;
  const baseUrl = address.includes("://") ? address : `${tls ? "https" : "http"}://${address}`;
  const nodeOptions = { ...tls };
  const transport =
    protocol === "grpc"
      ? createGrpcTransport({
          baseUrl,
          sessionManager: new Sessions(baseUrl, { pingIntervalMs: PING_INTERVAL_MS }, nodeOptions),
        })
      : createGrpcWebTransport({ baseUrl, httpVersion: "1.1", nodeOptions });
  return clientOver(transport, rest);
}
