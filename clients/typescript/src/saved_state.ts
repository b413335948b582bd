import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { sha256 } from "@noble/hashes/sha2";
import { bytesToHex } from "@noble/hashes/utils";
import { encoded } from "./requests.js";

const WHOLE = "Give one whole as state() returned it, or none to start again from the beginning.";

/** What each value of a saved state must be. */
export type Form<S> = { readonly [K in keyof S]-?: (value: unknown) => boolean };

/**
 * Throw a `TypeError`, which says what to do, unless `state` is of this version and has each value of the form: its
 * file may be cut off, or of something else. Another version may have other values, so the version is checked first.
 */
export function checkState<S extends { readonly version: number }>(state: S, version: number, form: Form<S>): void {
  const given: unknown = state;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw new TypeError(`The state is not an object. ${WHOLE}`);
  }
  if (state.version !== version) {
    throw new TypeError(`The state is of version ${String(state.version)}; this client reads ${version}. ${WHOLE}`);
  }
  for (const name in form) {
    if (!form[name](state[name])) {
      throw notWhole(name);
    }
  }
}

/** Return the error of a state whose `name` is missing or wrong. */
export function notWhole(name: string): TypeError {
  return new TypeError(`The state's ${name} is missing or wrong. ${WHOLE}`);
}

/** Return a digest of what was asked for. A state has it, since it means nothing to another request. */
export function digestOf<D extends DescMessage>(desc: D, request: MessageInitShape<D>): string {
  return bytesToHex(sha256(encoded(desc, create(desc, request))));
}

export function isText(value: unknown): boolean {
  return typeof value === "string";
}

export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** A revision is an `int64`; JSON has no such number, so a state holds its digits. */
export function isRevision(value: unknown): boolean {
  return typeof value === "string" && /^\d{1,19}$/.test(value) && BigInt(value) < 2n ** 63n;
}
