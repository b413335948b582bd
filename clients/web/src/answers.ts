import { useEffect, useRef, useState } from "preact/hooks";
import { noticeOf } from "./failures.js";

/** The answer of a call, or a sentence about what went wrong; "" while there is neither. */
export function useAnswer<T extends object>(ask: () => Promise<T>, inputs: readonly unknown[]): T | string {
  const [answer, set] = useState<T | string>("");
  useEffect(() => {
    let isCurrent = true;
    ask().then(
      (value) => isCurrent && set(value),
      (thrown: unknown) => isCurrent && set(said(thrown)),
    );
    return () => {
      isCurrent = false;
    };
  }, inputs);
  return answer;
}

/** What was read of a long list so far. */
export interface Listing<T> {
  readonly items: readonly T[];
  /** A sentence about what went wrong; else "". */
  readonly said: string;
  readonly isReading: boolean;
  /** Reads on; undefined while it reads, and at the end. */
  readonly more: (() => void) | undefined;
}

const SHOWN_AT_ONCE = 20;
const NOTHING = { items: [], said: "", isReading: true, isDone: false };

/** A list that is read part by part. It begins again when an input changes. */
export function useListing<T>(open: () => AsyncGenerator<T, void, undefined>, inputs: readonly unknown[]): Listing<T> {
  const [state, set] = useState<{ items: readonly T[]; said: string; isReading: boolean; isDone: boolean }>(NOTHING);
  const source = useRef<AsyncGenerator<T, void, undefined> | null>(null);
  const read = async (from: AsyncGenerator<T, void, undefined>) => {
    const found: T[] = [];
    let isDone = false;
    let failure = "";
    try {
      while (found.length < SHOWN_AT_ONCE && !isDone) {
        const next = await from.next();
        isDone = next.done === true;
        found.push(...(next.done ? [] : [next.value]));
      }
    } catch (thrown) {
      isDone = true;
      failure = said(thrown);
    }
    if (source.current === from) {
      set((before) => ({ items: [...before.items, ...found], said: failure, isReading: false, isDone }));
    }
  };
  useEffect(() => {
    const from = open();
    source.current = from;
    set(NOTHING);
    void read(from);
    return () => {
      source.current = null;
      void from.return();
    };
  }, inputs);
  const { items, said: sentence, isReading, isDone } = state;
  const more = () => {
    if (source.current) {
      set((before) => ({ ...before, isReading: true }));
      void read(source.current);
    }
  };
  return { items, said: sentence, isReading, more: isReading || isDone ? undefined : more };
}

/** What went wrong, and what to do. */
export function said(thrown: unknown): string {
  return noticeOf(thrown).text;
}
