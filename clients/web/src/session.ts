import {
  Action,
  type Candidate,
  CandidateNotFound,
  CandidateStatus,
  Conflict,
  CorrectionsError,
  FailureCategory,
  InternalError,
  InvalidField,
  TransportError,
  TryLater,
  Unauthorized,
} from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { draftOf, dropDraft, keepDraft } from "./drafts.js";
import { asked, type Place } from "./place.js";

const READ_AHEAD = 10;
const FEW_LEFT = 3;
const RETRY_MS = 2_000;

/** A decision of this session: what Undo needs to bring everything back. */
export interface Decision {
  readonly candidate: Candidate;
  readonly action: Action;
  readonly text: string | null;
  readonly category: FailureCategory;
  readonly revision: bigint;
  readonly at: Date;
}

/** Something to be told: what was done, or what went wrong. */
export interface Notice {
  readonly kind: "done" | "conflict" | "field" | "wrong";
  readonly text: string;
  readonly canUndo: boolean;
}

/** The reviewer's session: what is shown, what was read ahead, and what was decided. It knows no page. */
export class Session {
  candidate: Candidate | null = null;
  /** The correction while the editor is open, else null. */
  text: string | null = null;
  category = FailureCategory.UNSPECIFIED;
  total = 0;
  loaded = false;
  busy = false;
  isAway = false;
  needsToken = false;
  draftKept = false;
  /** A draft of an older revision of what is shown. */
  olderDraft: string | null = null;
  notice: Notice | null = null;
  readonly decided: Decision[] = [];
  #waiting: Candidate[] = [];
  #skipped: Candidate[] = [];
  readonly #seen = new Set<string>();
  readonly #requestIds = new Map<string, string>();
  #pageToken: string | null = "";
  #loading: Promise<void> | null = null;
  #saving: ReturnType<typeof setTimeout> | undefined;
  #generation = 0;

  constructor(
    private readonly client: ReviewClient,
    private readonly changed: () => void,
    private place: Place,
  ) {}

  /** Begin at the first candidate of a place. */
  async begin(place: Place): Promise<void> {
    this.keepNow();
    this.place = place;
    this.#generation += 1;
    this.#waiting = [];
    this.#skipped = [];
    this.#seen.clear();
    this.#pageToken = "";
    this.#loading = null;
    this.loaded = false;
    this.#show(null);
    await this.#next();
  }

  get left(): number {
    return Math.max(this.total, this.candidate ? 1 : 0);
  }

  /** Open the editor on the draft, or on the model's own response. */
  edit(): void {
    if (this.candidate && this.text === null) {
      this.text = currentDraft(this.candidate) ?? this.candidate.modelResponse;
      this.changed();
    }
  }

  /** Leave the editor; the text is kept as a draft. */
  leave(): void {
    this.keepNow();
    this.text = null;
    this.changed();
  }

  type(text: string): void {
    this.text = text;
    this.draftKept = false;
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.keepNow(), 300);
    this.changed();
  }

  keepNow(): void {
    clearTimeout(this.#saving);
    if (this.candidate && this.text !== null && this.text !== this.candidate.modelResponse) {
      this.draftKept = keepDraft(this.candidate, this.text);
      this.changed();
    }
  }

  takeOlderDraft(): void {
    this.text = this.olderDraft;
    this.olderDraft = null;
    this.changed();
  }

  choose(category: FailureCategory): void {
    this.category = category;
    this.changed();
  }

  skip(): void {
    const candidate = this.candidate;
    if (!candidate || this.busy) {
      return;
    }
    this.keepNow();
    this.#skipped.push(candidate);
    this.#tell("done", "Skipped to the end of this session's list. Nothing was stored.");
    void this.#next();
  }

  async decide(action: Action): Promise<void> {
    const { candidate, text, category } = this;
    if (!candidate || this.busy) {
      return;
    }
    if (action === Action.CORRECT && !text?.trim()) {
      this.edit();
      this.#tell("field", "A correction needs a text.");
      return;
    }
    await this.#attempt(async () => {
      const request = {
        id: candidate.id,
        action,
        correctedResponse: action === Action.CORRECT ? text! : "",
        failureCategory: category,
        expectedRevision: candidate.revision,
      };
      const done = await this.client.submit({ ...request, requestId: this.#requestId(request) });
      this.total = Math.max(0, this.total - 1);
      const revision = done.candidate?.revision ?? candidate.revision;
      this.decided.push({ candidate, action, text, category, revision, at: new Date() });
      clearTimeout(this.#saving);
      dropDraft(candidate);
      this.#tell("done", `${WORDS[action]}: ${candidate.id}`, true);
      await this.#next();
    });
  }

  /** Take the last decision of this session back. */
  async undo(): Promise<void> {
    const last = this.decided.at(-1);
    if (!last || this.busy) {
      return;
    }
    await this.#attempt(async () => {
      const request = { id: last.candidate.id, expectedRevision: last.revision };
      const undone = await this.client
        .undo({ ...request, requestId: this.#requestId(request) })
        .catch((thrown: unknown) => this.#undoneByOthers(thrown, last));
      if (!undone) {
        return;
      }
      this.decided.pop();
      this.total += 1;
      this.keepNow();
      if (this.candidate) {
        this.#waiting.unshift(this.candidate);
      }
      this.#show(undone.candidate ?? last.candidate);
      this.text = last.text;
      this.category = last.category;
      this.#tell("done", `Undone: ${last.candidate.id}`);
    });
  }

  /** A decision that somebody else has changed since cannot be taken back here. */
  #undoneByOthers(thrown: unknown, last: Decision): null {
    if (!(thrown instanceof Conflict || thrown instanceof CandidateNotFound)) {
      throw thrown;
    }
    this.decided.pop();
    this.#tell("conflict", `Somebody else has changed ${last.candidate.id} since; it stays as it is.`);
    return null;
  }

  dismiss(): void {
    this.notice = null;
    this.changed();
  }

  #show(candidate: Candidate | null): void {
    this.candidate = candidate;
    this.text = null;
    this.olderDraft = null;
    this.draftKept = false;
    this.category = FailureCategory.UNSPECIFIED;
    if (candidate) {
      this.text = currentDraft(candidate);
      this.draftKept = this.text !== null;
      this.olderDraft = this.draftKept ? null : (draftOf(candidate)?.text ?? null);
    }
    this.changed();
  }

  async #next(): Promise<void> {
    const generation = this.#generation;
    if (this.#waiting.length === 0) {
      this.#show(null);
      await this.#load();
      if (generation !== this.#generation) {
        return;
      }
    }
    if (this.#waiting.length === 0) {
      this.#waiting = this.#skipped.splice(0);
    }
    this.#show(this.#waiting.shift() ?? null);
    if (this.#waiting.length <= FEW_LEFT) {
      void this.#load();
    }
  }

  /** Read the next page, if there is one; several callers share one call. */
  #load(): Promise<void> {
    this.#loading ??= this.#attempt(() => this.#readPage(), false).finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #readPage(): Promise<void> {
    const generation = this.#generation;
    if (this.#pageToken === null) {
      return;
    }
    const request = { ...asked(this.place), perPage: READ_AHEAD, pageToken: this.#pageToken };
    const page = await this.client.queue(request);
    if (generation !== this.#generation) {
      return;
    }
    const fresh = page.items.filter((item) => !this.#seen.has(item.id));
    fresh.forEach((item) => this.#seen.add(item.id));
    this.#waiting.push(...fresh);
    this.#pageToken = page.nextPageToken || null;
    this.total = Number(page.total);
    this.loaded = true;
    this.changed();
  }

  /** One id for each content, until it is answered: to repeat it after a break cannot store it twice. */
  #requestId(request: { readonly id: string }): string {
    const key = JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
    const id = this.#requestIds.get(key) ?? crypto.randomUUID();
    this.#requestIds.set(key, id);
    return id;
  }

  async #attempt(work: () => Promise<void>, isDecision = true): Promise<void> {
    this.busy ||= isDecision;
    this.changed();
    try {
      await work();
    } catch (thrown) {
      await this.#failed(thrown);
    } finally {
      this.busy &&= !isDecision;
      this.changed();
    }
  }

  async #failed(thrown: unknown): Promise<void> {
    if (thrown instanceof Unauthorized) {
      this.needsToken = true;
      this.#tell("wrong", thrown.message);
    } else if (thrown instanceof Conflict || thrown instanceof CandidateNotFound) {
      await this.#overtaken();
    } else if (thrown instanceof InvalidField) {
      const fields = thrown.fieldViolations.map(({ field, description }) => `${field}: ${description}`);
      this.#tell("field", fields.join("; ") || thrown.message);
    } else if (thrown instanceof InternalError) {
      this.#tell("wrong", `${thrown.message} (${thrown.metadata["correlation_id"] ?? "no correlation id"})`);
    } else if (thrown instanceof TransportError || thrown instanceof TryLater) {
      this.keepNow();
      this.#tell("wrong", thrown.message);
      void this.#wait(thrown.retryAfterMs ?? RETRY_MS);
    } else {
      const text = thrown instanceof CorrectionsError ? `${thrown.message} (${thrown.reason || thrown.code})` : `${thrown}`;
      this.#tell("wrong", text);
    }
  }

  /** Somebody else was faster. Say how it stands now, keep the text, and go on; what is in review still is shown again. */
  async #overtaken(): Promise<void> {
    const mine = this.candidate;
    this.keepNow();
    const theirs = mine && (await this.client.getCandidate({ id: mine.id }).catch(() => null))?.candidate;
    const word = theirs ? CandidateStatus[theirs.status].toLowerCase().replaceAll("_", " ") : "gone";
    if (theirs?.status === CandidateStatus.NEEDS_REVIEW) {
      this.#waiting.unshift(theirs);
    }
    this.#tell("conflict", `Somebody else has changed ${mine?.id ?? "it"}: it is now ${word}. Your text is kept.`);
    await this.#next();
  }

  /** Look every two seconds whether the service is back. What is shown and typed stays. */
  async #wait(firstMs: number): Promise<void> {
    if (this.isAway) {
      return;
    }
    this.isAway = true;
    this.changed();
    for (let pauseMs = firstMs; this.isAway; pauseMs = RETRY_MS) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      this.isAway = await this.client.getConfig({}).then(
        () => false,
        (thrown: unknown) => thrown instanceof TransportError || thrown instanceof TryLater,
      );
    }
    this.notice = null;
    this.changed();
    if (!this.candidate) {
      await this.#next();
    }
  }

  #tell(kind: Notice["kind"], text: string, canUndo = false): void {
    this.notice = { kind, text, canUndo };
    this.changed();
  }
}

function currentDraft(candidate: Candidate): string | null {
  const draft = draftOf(candidate);
  return draft?.revision === candidate.revision.toString() ? draft.text : null;
}

export const WORDS: Readonly<Record<Action, string>> = {
  [Action.UNSPECIFIED]: "",
  [Action.CORRECT]: "Approved",
  [Action.DISCARD]: "Discarded",
  [Action.FLAG]: "Flagged",
};
