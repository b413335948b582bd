import type { DescMessage, DescMethodStreaming, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { CallOptions, Transport } from "@connectrpc/connect";
import { CorrectionsService } from "./gen/avocet/corrections/v1/corrections_pb.js";

/**
 * The service's methods that answer with a stream. Leaving such a stream early ends its call; connect's own methods
 * would leave the call, and with it a Node process, running.
 */
export function streamingMethods(transport: Transport): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const method of CorrectionsService.methods) {
    if (method.methodKind === "server_streaming") {
      made[method.localName] = (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
        stream(transport, method as DescMethodStreaming, once(request), options);
    } else if (method.methodKind === "bidi_streaming") {
      made[method.localName] = (requests: AsyncIterable<MessageInitShape<DescMessage>>, options?: CallOptions) =>
        stream(transport, method as DescMethodStreaming, requests, options);
    }
  }
  return made;
}

async function* stream<I extends DescMessage, O extends DescMessage>(
  transport: Transport,
  method: DescMethodStreaming<I, O>,
  requests: AsyncIterable<MessageInitShape<I>>,
  options: CallOptions = {},
): AsyncGenerator<MessageShape<O>, void, undefined> {
  const { signal, timeoutMs, headers, contextValues } = options;
  const response = await transport.stream(method, signal, timeoutMs, headers, requests, contextValues);
  options.onHeader?.(response.header);
  yield* response.message;
  options.onTrailer?.(response.trailer);
}

async function* once<T>(value: T): AsyncGenerator<T, void, undefined> {
  yield value;
}
