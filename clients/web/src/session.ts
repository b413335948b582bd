import { Action, type Candidate, CandidateStatus, ClaimLost, FailureCategory } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { currentDraft, type Draft, draftOf, dropDraft, keepDraft } from "./drafts.js";
import { failureOf, type Notice, noticeOf, standing } from "./failures.js";
import { correctedMessage, correctionOf, faultOfCorrection, messageTemplate } from "./message.js";
import { candidateHash, type Place } from "./place.js";
import { type Decided, Stack } from "./stack.js";
import { type Held, Supply } from "./supply.js";

const RETRY_MS = 2_000;
const LOOK_AGAIN_MS = 5_000;

export const WORDS: Readonly<Record<Action, string>> = {
  [Action.UNSPECIFIED]: "",
  [Action.CORRECT]: "Approved",
  [Action.DISCARD]: "Discarded",
  [Action.FLAG]: "Flagged",
};

/** The reviewer's session: what is shown, what is typed, and what was decided. It knows no page. */
export class Session {
  /** What is shown, and whether it is ours. */
  held: Held | null = null;
  /** The correction while the editor is open, else null. */
  text: string | null = null;
  /** The editor has a message with tool calls, as JSON. */
  isMessage = false;
  category = FailureCategory.UNSPECIFIED;
  loaded = false;
  busy = false;
  isAway = false;
  needsToken = false;
  draftKept = false;
  /** The claim on what is shown has ended. */
  isLost = false;
  /** A draft of an older revision of what is shown. */
  olderDraft: Draft | null = null;
  notice: Notice | null = null;
  readonly stack = new Stack();
  readonly supply: Supply;
  readonly #requestIds = new Map<string, string>();
  #otherText: string | null = null;
  #saving: ReturnType<typeof setTimeout> | undefined;
  #looking: ReturnType<typeof setTimeout> | undefined;
  #generation = 0;

  constructor(
    readonly client: ReviewClient,
    private readonly changed: () => void,
    place: Place,
    reviewer: string,
  ) {
    this.supply = new Supply(client, reviewer, (leaseId) => this.#lose(leaseId), place);
  }

  get candidate(): Candidate | null {
    return this.held?.candidate ?? null;
  }

  get left(): number {
    return Math.max(this.supply.total, this.held ? 1 : 0);
  }

  /** Begin at the first candidate of a place. */
  async begin(place: Place): Promise<void> {
    this.keepNow();
    this.#generation += 1;
    this.supply.begin(place);
    this.loaded = false;
    this.#show(null);
    await this.#attempt(() => this.#next(), false);
  }

  /** Keep what is typed, and let go of every claim. */
  end(): void {
    this.keepNow();
    this.#generation += 1;
    this.isAway = false;
    clearTimeout(this.#looking);
    void this.supply.leave();
  }

  /** Open the editor on the draft, or on the model's own response. */
  edit(): void {
    if (this.candidate && this.text === null) {
      const draft = currentDraft(this.candidate);
      this.text = draft?.text ?? this.candidate.modelResponse;
      this.isMessage = draft?.isMessage ?? false;
      this.changed();
    }
  }

  /** Correct with tool calls, or with plain text again; what was typed before comes back with the next change. */
  switchEditor(): void {
    if (this.candidate) {
      this.isMessage = !this.isMessage;
      const begun = this.isMessage ? messageTemplate(this.candidate) : this.candidate.modelResponse;
      const text = this.#otherText ?? begun;
      this.#otherText = this.text;
      this.type(text);
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
      this.draftKept = keepDraft(this.candidate, this.text, this.isMessage);
      this.changed();
    }
  }

  takeOlderDraft(): void {
    this.isMessage = this.olderDraft?.isMessage ?? false;
    this.text = this.olderDraft?.text ?? null;
    this.olderDraft = null;
    this.changed();
  }

  choose(category: FailureCategory): void {
    this.category = category;
    this.changed();
  }

  skip(): void {
    const { held } = this;
    if (held && !this.busy) {
      this.keepNow();
      this.supply.skip(held);
      this.#tell({ kind: "done", text: "Skipped to the end of this session's list. Nothing was stored." });
      void this.#attempt(() => this.#next());
    }
  }

  async decide(action: Action): Promise<void> {
    const { held, text, isMessage, category } = this;
    if (!held || this.busy) {
      return;
    }
    const { candidate, leaseId } = held;
    const isCorrection = action === Action.CORRECT;
    const fault = isCorrection ? faultOfCorrection(text, isMessage) : "";
    if (fault) {
      this.edit();
      this.#tell({ kind: "field", text: fault });
      return;
    }
    await this.#attempt(async () => {
      const request = {
        id: candidate.id,
        action,
        ...(isCorrection && (isMessage ? { correctedMessage: correctedMessage(text!) } : { correctedResponse: text! })),
        failureCategory: category,
        expectedRevision: candidate.revision,
        ...(leaseId ? { leaseId } : { reviewer: this.supply.reviewer }),
      };
      const done = await this.client.submit({ ...request, requestId: this.#requestId(request) });
      const revision = (done.candidate?.revision ?? candidate.revision).toString();
      this.stack.push({ id: candidate.id, action, revision, text: isCorrection ? null : text, isMessage });
      this.supply.settled(held);
      clearTimeout(this.#saving);
      dropDraft(candidate);
      this.#tell({ kind: "done", text: `${WORDS[action]}: ${candidate.id}`, canUndo: true });
      await this.#next();
    });
  }

  /** Take the last decision of this session back. */
  async undo(): Promise<void> {
    const { last } = this.stack;
    if (!last || this.busy) {
      return;
    }
    await this.#attempt(async () => {
      const [before, after] = await this.#undone(last);
      this.stack.pop();
      if (!before || !after) {
        const text = `Somebody else has changed ${last.id} since; it stays as it is.`;
        this.#tell({ kind: "conflict", text, link: candidateHash(last.id) });
        return;
      }
      this.supply.total += 1;
      await this.bring(after);
      this.category = before.failureCategory;
      this.isMessage = last.action === Action.CORRECT ? before.correctedMessage !== undefined : last.isMessage;
      this.text = last.action === Action.CORRECT ? correctionOf(before) : last.text;
      this.#tell({ kind: "done", text: `Undone: ${last.id}` });
    });
  }

  /** Show one candidate now, and hold it if nobody else does; what was shown comes after it. */
  async bring(candidate: Candidate): Promise<void> {
    this.keepNow();
    if (this.held) {
      this.supply.putBack(this.held);
      this.held = null;
    }
    this.#show(await this.supply.hold(candidate));
  }

  /** The claim had ended: hold the candidate again, or go on if somebody else has it. */
  async claimAgain(): Promise<void> {
    await this.#attempt(async () => {
      const { candidate } = this;
      const theirs = candidate && (await this.client.getCandidate({ id: candidate.id })).candidate;
      const isFree = theirs?.status === CandidateStatus.NEEDS_REVIEW && !theirs.claim;
      const again = isFree && (await this.supply.hold(theirs));
      if (again && again.leaseId) {
        this.keepNow();
        this.#show(again);
        this.#tell({ kind: "done", text: `You hold ${again.candidate.id} again.` });
      } else {
        await this.#overtaken(null);
      }
    });
  }

  dismiss(): void {
    this.notice = null;
    this.changed();
  }

  /** Do something that is not a decision; what goes wrong is told as if it were one. */
  async attempt(work: () => Promise<void>): Promise<void> {
    await this.#attempt(work, false);
  }

  /** Undo a decision; return the candidate before and after, or nothing if somebody else has changed it since. */
  async #undone({ id, revision }: Decided): Promise<readonly (Candidate | undefined)[]> {
    try {
      const before = (await this.client.getCandidate({ id })).candidate;
      const request = { id, expectedRevision: BigInt(revision), reviewer: this.supply.reviewer };
      const { candidate: after } = await this.client.undo({ ...request, requestId: this.#requestId(request) });
      return [before, after];
    } catch (thrown) {
      if (failureOf(thrown) !== "conflict") {
        throw thrown;
      }
      return [];
    }
  }

  #show(held: Held | null): void {
    this.held = held;
    this.text = null;
    this.isMessage = false;
    this.#otherText = null;
    this.isLost = false;
    this.olderDraft = null;
    this.draftKept = false;
    this.category = FailureCategory.UNSPECIFIED;
    if (held) {
      const draft = currentDraft(held.candidate);
      this.text = draft?.text ?? null;
      this.isMessage = draft?.isMessage ?? false;
      this.draftKept = draft !== null;
      this.olderDraft = draft ? null : draftOf(held.candidate);
    }
    this.changed();
  }

  async #next(): Promise<void> {
    const generation = this.#generation;
    clearTimeout(this.#looking);
    const held = await this.supply.next();
    if (generation !== this.#generation) {
      return;
    }
    this.loaded = true;
    this.#show(held);
    if (!held) {
      // Others may give something back, or bring something new.
      this.#looking = setTimeout(() => void (this.busy || this.held || this.#attempt(() => this.#next(), false)), LOOK_AGAIN_MS);
    }
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
    const failure = failureOf(thrown);
    if (failure === "conflict") {
      await this.#overtaken(thrown).catch((again: unknown) => this.#tell(noticeOf(again)));
      return;
    }
    this.keepNow();
    this.needsToken ||= failure === "token";
    this.#tell(noticeOf(thrown));
    const pauseMs = (thrown as { retryAfterMs?: number }).retryAfterMs ?? RETRY_MS;
    if (failure === "away") {
      void this.#wait(pauseMs);
    } else if (failure === "busy" && !this.held) {
      this.#looking = setTimeout(() => void this.#attempt(() => this.#next(), false), pauseMs);
    }
  }

  /** Somebody else was faster. Say how it stands now, keep the text, and go on; what is ours still is shown again. */
  async #overtaken(thrown: unknown): Promise<void> {
    const { held: mine } = this;
    this.keepNow();
    if (!mine) {
      await this.#next();
      return;
    }
    const { id } = mine.candidate;
    const theirs = (await this.client.getCandidate({ id }).catch(() => null))?.candidate;
    const holder = theirs?.claim?.reviewer ?? "";
    const isHeldHere = holder !== "" && holder === this.supply.name && !(thrown instanceof ClaimLost);
    this.held = null;
    if (theirs?.status === CandidateStatus.NEEDS_REVIEW && (isHeldHere || !holder)) {
      this.supply.putBack(isHeldHere ? { ...mine, candidate: theirs } : await this.supply.hold(theirs));
    } else {
      this.supply.settled(mine);
    }
    const text = `Somebody else was faster with ${id}: ${standing(theirs?.status, holder)}. Your text is kept.`;
    await this.#next();
    this.#tell({ kind: "conflict", text, link: candidateHash(id) });
  }

  #lose(leaseId: string): void {
    if (this.held?.leaseId === leaseId) {
      this.keepNow();
      this.held.leaseId = "";
      this.isLost = true;
      this.changed();
    }
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
      this.isAway &&= await this.client.getConfig({}).then(
        () => false,
        (thrown: unknown) => failureOf(thrown) === "away",
      );
    }
    this.notice = null;
    this.changed();
    if (!this.held) {
      await this.#attempt(() => this.#next(), false);
    }
  }

  #tell(notice: Notice): void {
    this.notice = notice;
    this.changed();
  }
}
