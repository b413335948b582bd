import { create } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import type { Calls, UploadPart } from "./calls.js";
import { type OnConflict, type UploadRunResponse, UploadRunResponseSchema } from "./gen/avocet/corrections/v1/corrections_pb.js";

/** The bytes of a run's JSONL file: a `File` of a browser, a stream of Node, or what is in memory. */
export type RunSource = Blob | Uint8Array | string | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

export interface UploadOptions extends CallOptions {
  readonly onConflict?: OnConflict;
  /** Is told after each part how many bytes the server has taken in. */
  readonly onProgress?: (bytes: number) => void;
}

/** A message has at most 3 MB of lines. */
const PART_BYTES = 3_000_000;
const MOST_PROBLEMS = 20;
const NEWLINE = 10;

/**
 * Send a run and import it, in parts of whole lines; return the sums of what became of them.
 *
 * Each part is a call of its own, as browsers need it. A call that fails leaves the parts before it stored: send the
 * run again, and what is known is skipped. Only a line of more than 3 MB needs a stream, which no browser sends.
 */
export async function uploadRun(
  calls: Calls,
  uploadPart: UploadPart,
  runId: string,
  source: RunSource,
  options: UploadOptions = {},
): Promise<UploadRunResponse> {
  const { onConflict = 0, onProgress, ...callOptions } = options;
  const sum = create(UploadRunResponseSchema);
  let bytes = 0;
  let lines = 0n;
  for await (const part of parts(chunks(source))) {
    const answer =
      part.length <= PART_BYTES
        ? await uploadPart({ runId, onConflict, lines: part }, callOptions)
        : await calls.uploadRun(messages(runId, onConflict, part), callOptions);
    add(sum, answer, lines);
    bytes += part.length;
    lines += BigInt(count(part));
    onProgress?.(bytes);
  }
  return sum;
}

function add(sum: UploadRunResponse, { problems, byStatus, ...counts }: UploadRunResponse, linesBefore: bigint): void {
  for (const name of ["imported", "skipped", "malformed", "conflicts", "qualified"] as const) {
    sum[name] += counts[name];
  }
  for (const [word, number] of Object.entries(byStatus)) {
    sum.byStatus[word] = (sum.byStatus[word] ?? 0n) + number;
  }
  const room = Math.max(0, MOST_PROBLEMS - sum.problems.length);
  sum.problems.push(...problems.slice(0, room).map((problem) => ({ ...problem, line: problem.line + linesBefore })));
}

/** Whole lines, as many as fit one message; a longer line comes alone. One part at least, so that the run's name is checked. */
async function* parts(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  let waiting: Uint8Array[] = [];
  let size = 0;
  let hasLine = false;
  let isFirst = true;
  for await (const chunk of source) {
    waiting.push(chunk);
    size += chunk.length;
    hasLine ||= chunk.includes(NEWLINE);
    if (size < PART_BYTES || !hasLine) {
      continue; // a long line is joined once, when its end has come
    }
    let rest = joined(waiting, size);
    for (let end = endOfLines(rest); rest.length >= PART_BYTES && end > 0; end = endOfLines(rest)) {
      yield rest.subarray(0, end);
      isFirst = false;
      rest = rest.subarray(end);
    }
    [waiting, size, hasLine] = [[rest], rest.length, rest.includes(NEWLINE)];
  }
  let rest = joined(waiting, size);
  while (rest.length > PART_BYTES && endOfLines(rest) > 0) {
    const end = endOfLines(rest);
    yield rest.subarray(0, end);
    isFirst = false;
    rest = rest.subarray(end);
  }
  if (rest.length > 0 || isFirst) {
    yield rest;
  }
}

/** Where the last line ends that fits a message, or the first line if it does not; 0 if none ends. */
function endOfLines(bytes: Uint8Array): number {
  return bytes.lastIndexOf(NEWLINE, PART_BYTES - 1) + 1 || bytes.indexOf(NEWLINE) + 1;
}

async function* messages(runId: string, onConflict: OnConflict, line: Uint8Array<ArrayBuffer>) {
  yield { runId, onConflict };
  for (let start = 0; start < line.length; start += PART_BYTES) {
    yield { lines: line.subarray(start, start + PART_BYTES) };
  }
}

async function* chunks(source: RunSource): AsyncGenerator<Uint8Array, void, undefined> {
  if (typeof source === "string") {
    yield new TextEncoder().encode(source);
  } else if (source instanceof Uint8Array) {
    yield source;
  } else if (source instanceof Blob) {
    for (let start = 0; start < source.size; start += PART_BYTES) {
      yield new Uint8Array(await source.slice(start, start + PART_BYTES).arrayBuffer());
    }
  } else {
    yield* source;
  }
}

function joined(pieces: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}

function count(bytes: Uint8Array): number {
  let found = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
    found += 1;
  }
  return found;
}
