import { Action, type Candidate, CandidateStatus, ClaimLost, FailureCategory } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { keepDraft } from "./drafts.js";
import { Editor } from "./editor.js";
import { failureOf, nothingIfGone, type Notice, noticeOf, pauseOf, standing } from "./failures.js";
import { correctionOf, faultOfCorrection } from "./message.js";
import { Outage, pause } from "./outage.js";
import { candidateHash, type Place } from "./place.js";
import { Requests } from "./requests.js";
import { type Decided, Stack, WORDS } from "./stack.js";
import { type Held, type Reviewer, Supply } from "./supply.js";

const RETRY_MS = 2_000;
const LOOK_AGAIN_MS = 5_000;
/** So often a write is sent while the service has too many calls. */
const MOST_TRIES = 5;

/**
 * The reviewer's session: what is shown, what is typed, and what was decided. It knows no page.
 *
 * One write is under way at a time, and nothing else waits for it but Undo. Whatever an answer would show is shown only
 * if nothing else has been shown since it was asked for: `#turn` counts what is shown.
 */
export class Session {
  /** What is shown, and whether it is ours. */
  held: Held | null = null;
  category = FailureCategory.UNSPECIFIED;
  /** Nothing is shown yet: `wrong` if it could not be read. */
  reading: "" | "under way" | "wrong" = "";
  /** The first candidates have come, or none. */
  hasBegun = false;
  /** A write is under way, and perhaps it decides what is shown. */
  busy = false;
  #sent: Held | null = null;
  needsToken = false;
  /** The claim on what is shown has ended. */
  isLost = false;
  notice: Notice | null = null;
  readonly editor: Editor;
  readonly stack = new Stack();
  readonly reviewer: Reviewer;
  supply: Supply;
  readonly outage: Outage;
  readonly #requests: Requests;
  #looking: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #undosWanted = 0;

  constructor(
    readonly client: ReviewClient,
    private readonly changed: () => void,
    place: Place,
    stated: string,
  ) {
    this.reviewer = { stated, known: "" };
    this.editor = new Editor(changed);
    this.outage = new Outage(() => client.queue({ perPage: 1 }), changed);
    this.#requests = new Requests(client, this.reviewer);
    this.supply = this.#supplyOf(place);
  }

  get candidate(): Candidate | null {
    return this.held?.candidate ?? null;
  }

  /** What is shown is being decided, so its text is settled. */
  get isSent(): boolean {
    return this.held !== null && this.held === this.#sent;
  }

  get left(): number {
    return Math.max(this.supply.total, this.held ? 1 : 0);
  }

  /** Begin at the first candidate of a place. */
  async begin(place: Place): Promise<void> {
    this.end();
    this.supply = this.#supplyOf(place);
    await this.#next();
  }

  /** Keep what is typed, and let go of every claim. */
  end(): void {
    this.editor.keep();
    this.outage.end();
    this.#showNothingYet(false);
    void this.supply.leave();
  }

  choose(category: FailureCategory): void {
    this.category = category;
    this.changed();
  }

  skip(): void {
    const { held } = this;
    if (held && !this.busy) {
      this.editor.keep();
      this.supply.skip(held);
      this.#tell({ kind: "done", text: "Skipped to the end of this session's list. Nothing was stored." });
      void this.#next();
    }
  }

  async decide(action: Action): Promise<void> {
    const { held } = this;
    const { text, isMessage } = this.editor;
    if (!held || this.busy) {
      return;
    }
    const fault = action === Action.CORRECT ? faultOfCorrection(text, isMessage) : "";
    if (fault) {
      this.editor.open();
      this.#tell({ kind: "field", text: fault });
      return;
    }
    const typed = action === Action.CORRECT ? null : this.editor.typed;
    const sent: Decided = {
      ...{ id: held.candidate.id, action, revision: "" },
      ...(typed ? { text: typed.text, isMessage: typed.isMessage ?? false } : { text: null, isMessage }),
    };
    const turn = this.#turn;
    this.stack.push(sent);
    if (!(await this.#write(() => this.#send(held, sent, text, turn), held))) {
      this.stack.remove(sent);
    }
    this.#undoWhatIsWanted();
  }

  /** Take the last decision of this session back; the one that is under way once it is answered. */
  async undo(): Promise<void> {
    const { last } = this.stack;
    if (this.busy) {
      this.#undosWanted += 1;
    } else if (last) {
      await this.#write(() => this.#takeBack(last));
      this.#undoWhatIsWanted();
    }
  }

  /** Show one candidate now, and hold it if nobody else does; what was shown comes after it. */
  bring(candidate: Candidate): void {
    this.editor.keep();
    if (this.held) {
      this.supply.putBack(this.held);
    }
    this.#show(this.supply.bring({ candidate, leaseId: "" }));
  }

  /** The claim had ended: hold the candidate again, or go on if somebody else has it. */
  async claimAgain(): Promise<void> {
    const { held } = this;
    if (!held || this.busy) {
      return;
    }
    const turn = this.#turn;
    await this.#write(async () => {
      const { id } = held.candidate;
      const theirs = (await this.client.getCandidate({ id })).candidate;
      const again = theirs && { candidate: theirs, leaseId: "" };
      if (again && theirs.status === CandidateStatus.NEEDS_REVIEW && !theirs.claim) {
        await this.supply.hold(again);
      }
      if (!again?.leaseId) {
        await this.#overtaken(held, null, turn);
      } else if (turn === this.#turn) {
        this.editor.keep();
        this.#show(this.supply.bring(again));
        this.#tell({ kind: "done", text: `You hold ${id} again.` });
      }
    }, held);
  }

  /** Read again what could not be read. */
  async readAgain(): Promise<void> {
    this.dismiss();
    await this.#next();
  }

  dismiss(): void {
    this.notice = null;
    this.changed();
  }

  /** Send a decision; go on when it is stored, unless the person has gone on already. */
  async #send(held: Held, sent: Decided, text: string | null, turn: number): Promise<void> {
    const { supply, category } = this;
    const { candidate, leaseId } = held; // a claim that is told to be lost meanwhile loses its id
    const revision = await this.#requests.decide(held, sent, text, category);
    this.stack.replace(sent, { ...sent, revision });
    supply.settled({ ...held, leaseId });
    this.editor.drop(candidate);
    this.#tell({ kind: "done", text: `${WORDS[sent.action]}: ${candidate.id}`, canUndo: true });
    if (turn === this.#turn) {
      void this.#next();
    }
  }

  async #takeBack(last: Decided): Promise<void> {
    const { supply } = this;
    const [before, after] = await this.#requests.undo(last);
    this.stack.remove(last);
    if (!before || !after) {
      this.#undosWanted = 0;
      const text = last.revision
        ? `Somebody else has changed ${last.id} since; it stays as it is.`
        : `Whether ${last.id} was decided before the reload is not known; it stays as it is.`;
      this.#tell({ kind: "conflict", text, link: candidateHash(last.id) });
      return;
    }
    const isCorrection = last.action === Action.CORRECT;
    const text = isCorrection ? correctionOf(before) : last.text;
    const isMessage = isCorrection ? before.correctedMessage !== undefined : last.isMessage;
    const told = { kind: "done", text: `Undone: ${last.id}` } as const;
    if (supply !== this.supply) {
      // Other filters since: what is shown stays, and the text waits with its candidate.
      void (text === null || keepDraft(after, text, isMessage));
      this.#tell({ ...told, link: candidateHash(last.id) });
      return;
    }
    supply.total += 1;
    this.bring(after);
    this.category = before.failureCategory;
    this.editor.put(text, isMessage);
    this.#tell(told);
  }

  #undoWhatIsWanted(): void {
    if (this.#undosWanted > 0) {
      this.#undosWanted -= 1;
      void this.undo();
    }
  }

  /** Do one write after the other. Return whether it was stored; what goes wrong is told, and ends what waits for it. */
  async #write(work: () => Promise<void>, mine: Held | null = null): Promise<boolean> {
    const turn = this.#turn;
    this.busy = true;
    this.#sent = mine;
    this.changed();
    try {
      await this.#repeated(work);
      this.supply.isFull = false;
      this.needsToken = false;
      return true;
    } catch (thrown) {
      this.#undosWanted = 0;
      await this.#failed(thrown, mine, turn).catch((again: unknown) => this.#tell(noticeOf(again)));
      return false;
    } finally {
      this.busy = false;
      this.#sent = null;
      this.changed();
    }
  }

  /** The service has too many calls: nothing was stored, and it says how long to wait. */
  async #repeated(work: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work();
      } catch (thrown) {
        if (failureOf(thrown) !== "busy" || tries === MOST_TRIES) {
          throw thrown;
        }
        this.#tell(noticeOf(thrown));
        await pause(pauseOf(thrown) ?? RETRY_MS);
      }
    }
  }

  async #failed(thrown: unknown, mine: Held | null, turn: number): Promise<void> {
    const failure = failureOf(thrown);
    if (failure === "conflict" && mine) {
      await this.#overtaken(mine, thrown, turn);
      return;
    }
    this.editor.keep();
    this.needsToken ||= failure === "token";
    this.supply.isFull ||= failure === "full";
    this.notice = failure === "full" ? null : noticeOf(thrown);
    this.changed();
    if (failure === "away") {
      void this.#wait(pauseOf(thrown));
    }
  }

  /** Somebody else was faster. Say how it stands now, keep the text, and go on; what is ours still is shown again. */
  async #overtaken(mine: Held, thrown: unknown, turn: number): Promise<void> {
    const { supply } = this;
    const { id } = mine.candidate;
    this.editor.keep();
    const theirs = await this.client.getCandidate({ id }).then(({ candidate }) => candidate, nothingIfGone);
    const holder = theirs?.claim?.reviewer ?? "";
    const isHeldHere = holder !== "" && holder === this.reviewer.known && !(thrown instanceof ClaimLost);
    supply.settled({ ...mine, leaseId: isHeldHere ? "" : mine.leaseId });
    if (theirs?.status === CandidateStatus.NEEDS_REVIEW && (isHeldHere || !holder)) {
      supply.putBack({ candidate: theirs, leaseId: isHeldHere ? mine.leaseId : "" });
      supply.total += 1;
    }
    if (turn === this.#turn) {
      void this.#next();
    }
    const text = `Somebody else was faster with ${id}: ${standing(theirs?.status, holder)}. Your text is kept.`;
    this.#tell({ kind: "conflict", text, link: candidateHash(id) });
  }

  /** Show the next one. While it is read nothing is shown, unless there was nothing before. */
  async #next(): Promise<void> {
    const { supply } = this;
    const ready = supply.take();
    if (ready) {
      this.#show(ready);
      return;
    }
    this.#showNothingYet(this.hasBegun && !this.held && !this.reading);
    const turn = this.#turn;
    try {
      await supply.refill();
      if (turn === this.#turn) {
        this.#show(supply.take());
      }
    } catch (thrown) {
      if (turn === this.#turn) {
        this.reading = "wrong";
        await this.#failed(thrown, null, turn);
        if (failureOf(thrown) === "busy") {
          this.#lookAgain(pauseOf(thrown) ?? RETRY_MS);
        }
      }
    }
  }

  #show(held: Held | null): void {
    this.#turn += 1;
    this.held = held;
    this.isLost = false;
    this.reading = "";
    this.hasBegun = true;
    this.category = FailureCategory.UNSPECIFIED;
    this.editor.begin(held?.candidate ?? null);
    clearTimeout(this.#looking);
    if (!held) {
      this.#lookAgain(LOOK_AGAIN_MS);
    } else if (!held.leaseId) {
      this.supply.hold(held).catch(() => undefined); // who decides it unheld is told, if somebody else holds it
    }
    this.changed();
  }

  #showNothingYet(isQuiet: boolean): void {
    this.#turn += 1;
    this.held = null;
    this.isLost = false;
    this.reading = isQuiet ? "" : "under way";
    this.editor.begin(null);
    clearTimeout(this.#looking);
    this.changed();
  }

  /** Others may give something back, or bring something new. */
  #lookAgain(afterMs: number): void {
    clearTimeout(this.#looking);
    this.#looking = setTimeout(() => void (this.held || this.outage.isOn || this.#next()), afterMs);
  }

  #supplyOf(place: Place): Supply {
    const supply: Supply = new Supply(this.client, this.reviewer, place, (leaseId) => {
      if (supply === this.supply && this.held?.leaseId === leaseId) {
        this.editor.keep();
        this.held.leaseId = "";
        this.isLost = true;
        this.changed();
      }
    });
    return supply;
  }

  /** Go on once the service is back. What is shown and typed stays. */
  async #wait(firstMs: number | undefined): Promise<void> {
    const { notice } = this;
    if (await this.outage.wait(firstMs)) {
      this.notice = this.notice === notice ? null : this.notice;
      this.changed();
      if (!this.held && !this.busy) {
        await this.#next();
      }
    }
  }

  #tell(notice: Notice): void {
    this.notice = notice;
    this.changed();
  }
}
