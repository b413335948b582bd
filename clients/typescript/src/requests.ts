import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { InvalidField, RequestTooLarge } from "./errors.js";

/** The longest message that the service takes. It ends the call of a longer one, whoever sends it. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Return the bytes of a request as they will be sent. A mistake of the caller's is thrown here, before anything is
 * sent: once a transport has wrapped it, nobody can tell it from an outage.
 */
export function encoded<D extends DescMessage>(desc: D, request: MessageShape<D>, requestId = ""): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = toBinary(desc, request);
  } catch (cause) {
    throw notValid(cause, requestId);
  }
  if (bytes.length > MOST_BYTES) {
    const [size, most] = [bytes.length, MOST_BYTES].map((number) => number.toLocaleString("en-US"));
    const what = `The request has ${size} bytes; the service takes at most ${most}. Shorten its texts, or split it.`;
    throw new RequestTooLarge(what, { code: Code.ResourceExhausted, requestId });
  }
  return bytes;
}

function notValid(cause: unknown, requestId: string): InvalidField {
  const told = cause instanceof Error ? cause.message : String(cause);
  // protobuf-es names the field within a sentence. A mistake that it does not expect has no such sentence.
  const [, field, description] = /^cannot encode field \S*?(\w+) to binary: (.*)$/s.exec(told) ?? [];
  const facts = { code: Code.InvalidArgument, requestId, cause };
  if (field === undefined || description === undefined) {
    return new InvalidField(`The request is not valid, and was not sent: ${told}`, facts);
  }
  const what = `${field} is not valid, and the request was not sent: ${description}`;
  return new InvalidField(what, { ...facts, fieldViolations: [{ field, description }] });
}
