import { constants, type Http2Session } from "node:http2";
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

/**
 * In megabytes. Node counts what is being sent, and refuses every further call of the connection beyond its own 10:
 * less than one request of the service may have.
 */
const MOST_SESSION_MEMORY = 1_000;

/** The connections of a client. One that Node or the server will not use any longer makes room for another. */
class Sessions extends Http2SessionManager {
  override async request(...call: Parameters<Http2SessionManager["request"]>) {
    const stream = await super.request(...call);
    const { session } = stream;
    const close = stream.close.bind(stream);
    stream.close = (code, done) => {
      // Node goes on counting what was not sent of a stream that was given up.
      if (stream.writableLength > 0) {
        retire(session);
      }
      close(code, done);
      stream.destroy(); // else Node keeps it until its data is read, and with it the connection and the process
    };
    stream.once("close", () => {
      if (stream.rstCode === constants.NGHTTP2_ENHANCE_YOUR_CALM) {
        retire(session);
      }
    });
    return stream;
  }
}

/** Let a connection end with its last call, as if the server had asked for it. The next call opens another. */
function retire(session: Http2Session | undefined): void {
  if (session && !session.closed && !session.destroyed) {
    session.emit("goaway", constants.NGHTTP2_NO_ERROR, 0, undefined);
    session.close();
  }
}

/** Return a client of the service at `HOST:PORT`, or at a URL of http(s). It connects at its first call. */
export function correctionsClient(address: string, options: NodeClientOptions = {}): CorrectionsClient {
  const { tls, protocol = "grpc", ...rest } = options;
  const baseUrl = address.includes("://") ? address : `${tls ? "https" : "http"}://${address}`;
  if (!/^https?:$/.test(new URL(baseUrl).protocol)) {
    throw new TypeError(`The address must be HOST:PORT, or a URL that begins with http: or https:, not ${address}.`);
  }
  const nodeOptions = { ...tls };
  const transport =
    protocol === "grpc"
      ? createGrpcTransport({
          baseUrl,
          sessionManager: new Sessions(
            baseUrl,
            { pingIntervalMs: PING_INTERVAL_MS },
            { ...nodeOptions, maxSessionMemory: MOST_SESSION_MEMORY },
          ),
        })
      : createGrpcWebTransport({ baseUrl, httpVersion: "1.1", nodeOptions });
  return clientOver(transport, rest);
}
