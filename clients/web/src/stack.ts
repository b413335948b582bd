import { Action } from "@avocet/client";

/** A decision of this session: what Undo needs to find it again, also after a reload. */
export interface Decided {
  readonly id: string;
  readonly action: Action;
  /** "" until the service has answered. */
  readonly revision: string;
  /** What stood in the editor; of an approved one the service has it. */
  readonly text: string | null;
  readonly isMessage: boolean;
}

export const WORDS: Readonly<Record<Action, string>> = {
  [Action.UNSPECIFIED]: "",
  [Action.CORRECT]: "Approved",
  [Action.DISCARD]: "Discarded",
  [Action.FLAG]: "Flagged",
};

const KEY = "avocet-decided";
const MOST = 200;

/** The decisions of this tab, the last one at the end. They survive a reload and a restart of the browser's tab. */
export class Stack {
  #entries: readonly Decided[] = [];

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
    this.#keep([...this.#entries, entry].slice(-MOST));
  }

  /** Put the answered decision in the place of the one that was sent. */
  replace(sent: Decided, answered: Decided): void {
    this.#keep(this.#entries.map((entry) => (entry === sent ? answered : entry)));
  }

  remove(entry: Decided): void {
    this.#keep(this.#entries.filter((each) => each !== entry));
  }

  /** It was undone elsewhere on the page. */
  forget(id: string): void {
    this.#keep(this.#entries.filter((entry) => entry.id !== id));
  }

  #keep(entries: readonly Decided[]): void {
    this.#entries = entries;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(entries));
    } catch {
      // full, or a browser that keeps nothing: the stack lives in memory alone
    }
  }
}
