import type { Candidate } from "@avocet/client";
import { currentDraft, type Draft, draftOf, dropDraft, keepDraft } from "./drafts.js";
import { messageTemplate } from "./message.js";

const SAVED_AFTER_MS = 300;

/** The correction of what is shown, and its draft. It knows no page. */
export class Editor {
  /** The correction while the editor is open, else null. */
  text: string | null = null;
  /** It is a message with tool calls, as JSON. */
  isMessage = false;
  draftKept = false;
  /** A draft of an older revision of what is shown. */
  olderDraft: Draft | null = null;
  #candidate: Candidate | null = null;
  #otherText: string | null = null;
  #saving: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly changed: () => void) {}

  /** Begin with another candidate, or none. What stands in the editor is kept only if `keep` was called before. */
  begin(candidate: Candidate | null): void {
    clearTimeout(this.#saving);
    const draft = candidate && currentDraft(candidate);
    this.#candidate = candidate;
    this.#otherText = null;
    this.text = draft?.text ?? null;
    this.isMessage = draft?.isMessage ?? false;
    this.draftKept = draft !== null;
    this.olderDraft = candidate && !draft ? draftOf(candidate) : null;
  }

  /** Put in what was decided, or typed before. */
  put(text: string | null, isMessage: boolean): void {
    this.text = text;
    this.isMessage = isMessage;
  }

  /** Open on the draft, or on the model's own response. */
  open(): void {
    if (this.#candidate && this.text === null) {
      const draft = currentDraft(this.#candidate);
      this.put(draft?.text ?? this.#candidate.modelResponse, draft?.isMessage ?? false);
      this.changed();
    }
  }

  /** Correct with tool calls, or with plain text again; what was typed before comes back with the next change. */
  change(): void {
    if (this.#candidate) {
      this.isMessage = !this.isMessage;
      const begun = this.isMessage ? messageTemplate(this.#candidate) : this.#candidate.modelResponse;
      const text = this.#otherText ?? begun;
      this.#otherText = this.text;
      this.type(text);
    }
  }

  /** What was typed, also if the editor is closed again. */
  get typed(): Pick<Draft, "text" | "isMessage"> | null {
    const { text, isMessage } = this;
    return text === null ? this.#candidate && currentDraft(this.#candidate) : { text, isMessage };
  }

  /** Close; the text is kept as a draft. */
  close(): void {
    this.keep();
    this.text = null;
    this.changed();
  }

  type(text: string): void {
    this.text = text;
    this.draftKept = false;
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.keep(), SAVED_AFTER_MS);
    this.changed();
  }

  /** Keep what is typed as a draft, now. */
  keep(): void {
    clearTimeout(this.#saving);
    if (this.#candidate && this.text !== null && this.text !== this.#candidate.modelResponse) {
      this.draftKept = keepDraft(this.#candidate, this.text, this.isMessage);
      this.changed();
    }
  }

  /** The candidate was decided: its draft is done with. */
  drop(candidate: Candidate): void {
    if (candidate.id === this.#candidate?.id) {
      clearTimeout(this.#saving);
    }
    dropDraft(candidate);
  }

  takeOlderDraft(): void {
    this.put(this.olderDraft?.text ?? null, this.olderDraft?.isMessage ?? false);
    this.olderDraft = null;
    this.changed();
  }
}
