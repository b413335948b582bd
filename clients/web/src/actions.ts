import { Action, FailureCategory } from "@avocet/client";
import { options } from "preact";
import { CATEGORIES, type Place } from "./place.js";
import type { Session } from "./session.js";

interface Switches {
  setRaw: (change: (was: boolean) => boolean) => void;
  showFilters: (isShown: boolean) => void;
  help: () => void;
}

/** Do something and draw it before the next key comes: what is typed then must reach the editor, and decide nothing. */
function drawnAtOnce(work: () => void): void {
  options.debounceRendering = (draw) => draw();
  try {
    work();
  } finally {
    delete options.debounceRendering;
  }
}

/** What each key does now. */
export function actionsOf(session: Session, view: Place["view"], { setRaw, showFilters, help }: Switches) {
  const everywhere: Record<string, () => void> = {
    "?": help,
    u: () => void session.undo(),
    "/": () => showFilters(true),
    j: () => scrollBy({ top: 200 }),
    k: () => scrollBy({ top: -200 }),
  };
  if (view !== "review") {
    return everywhere;
  }
  const categories = [FailureCategory.UNSPECIFIED, ...CATEGORIES.map(([category]) => category)];
  return {
    ...everywhere,
    ...Object.fromEntries(categories.map((category, digit) => [`${digit}`, () => session.choose(category)])),
    c: () => drawnAtOnce(() => session.editor.open()),
    t: () => drawnAtOnce(() => session.editor.change()),
    "Ctrl+Enter": () => void session.decide(Action.CORRECT),
    d: () => void session.decide(Action.DISCARD),
    f: () => void session.decide(Action.FLAG),
    s: () => session.skip(),
    r: () => setRaw((was) => !was),
    Escape: () => session.editor.close(),
  };
}
