import type { Action } from "@avocet/client";

/** A decision of this session: what Undo needs to find it again, also after a reload. */
export interface Decided {
  readonly id: string;
  readonly action: Action;
  readonly revision: string;
  /** What stood in the editor; of an approved one the service has it. */
  readonly text: string | null;
  readonly isMessage: boolean;
}

const KEY = "avocet-decided";
const MOST = 200;

/** The decisions of this tab, the last one at the end. They survive a reload and a restart of the browser's tab. */
export class Stack {
  #entries: Decided[] = [];

  constructor() {
    try {
      this.#entries = JSON.parse(sessionStorage.getItem(KEY) ?? "[]") as Decided[];
    } catch {
      // a browser that keeps nothing, or what is damaged: the session begins empty
    }
  }

  get length(): number {
    return this.#entries.length;
  }

  get last(): Decided | undefined {
    return this.#entries.at(-1);
  }

  push(entry: Decided): void {
    this.#entries = [...this.#entries, entry].slice(-MOST);
    this.#keep();
  }

  pop(): void {
    this.#entries.pop();
    this.#keep();
  }

  #keep(): void {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(this.#entries));
    } catch {
      // full, or a browser that keeps nothing: the stack lives in memory alone
    }
  }
}
