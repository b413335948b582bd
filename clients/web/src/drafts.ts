import type { Candidate } from "@avocet/client";

const PREFIX = "avocet-draft:";

/** A correction that was begun, of a candidate at one revision. */
export interface Draft {
  readonly revision: string;
  readonly text: string;
  /** The text is a message with tool calls, as JSON. */
  readonly isMessage?: boolean;
}

/** Return the draft of a candidate, of this revision or of an older one; null if there is none. */
export function draftOf(candidate: Candidate): Draft | null {
  try {
    const stored = localStorage.getItem(PREFIX + candidate.id);
    return stored === null ? null : (JSON.parse(stored) as Draft);
  } catch {
    return null; // a browser that keeps nothing, or a draft that is damaged
  }
}

/** Return the draft of a candidate at this very revision; null if there is none. */
export function currentDraft(candidate: Candidate): Draft | null {
  const draft = draftOf(candidate);
  return draft?.revision === candidate.revision.toString() ? draft : null;
}

/** Keep a draft. Return whether the browser kept it. */
export function keepDraft(candidate: Candidate, text: string, isMessage: boolean): boolean {
  try {
    const draft: Draft = { revision: candidate.revision.toString(), text, isMessage };
    localStorage.setItem(PREFIX + candidate.id, JSON.stringify(draft));
    return true;
  } catch {
    return false;
  }
}

export function dropDraft(candidate: Candidate): void {
  try {
    localStorage.removeItem(PREFIX + candidate.id);
  } catch {
    // a browser that keeps nothing has nothing to remove
  }
}
