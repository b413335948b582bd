import { type Candidate, type Claim, type Claims, InvalidField } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { asked, type Place } from "./place.js";

/** A candidate that nobody else is handed while we hold it; without a lease id nobody holds it. */
export interface Held {
  readonly candidate: Candidate;
  leaseId: string;
}

/** So few that a colleague finds something to do in a short queue, too. */
const CLAIMED_AT_ONCE = 5;
const FEW_LEFT = 2;
/** After a crash of the browser a candidate is free again so soon. */
const LEASE_SECONDS = 300;

/** The candidates of a session: claimed ahead, renewed, put back, and released in the end. It knows no page. */
export class Supply {
  /** How many match the place, those that others hold included. */
  total = 0;
  /** The name that the service knows us by; "" before it has said it. */
  name = "";
  #claims: Claims;
  #waiting: Held[] = [];
  #skipped: Held[] = [];
  #filling: Promise<void> | null = null;
  #requestId = "";
  #generation = 0;

  constructor(
    private readonly client: ReviewClient,
    /** Who claims, where no token says it. */
    public reviewer: string,
    private readonly lost: (leaseId: string) => void,
    private place: Place,
  ) {
    this.#claims = this.#claimsOf(reviewer);
  }

  /** Let go of everything, and begin at the first candidate of a place. */
  begin(place: Place): void {
    this.place = place;
    this.#generation += 1;
    this.#waiting = [];
    this.#skipped = [];
    this.#filling = null;
    this.#requestId = "";
    void this.leave();
  }

  /** Release what is held, and hold nothing more. */
  leave(): Promise<void> {
    return this.#claims.close();
  }

  /** The next candidate: one that was put back, a new one, or in the end one that was skipped. */
  async next(): Promise<Held | null> {
    const generation = this.#generation;
    if (this.#waiting.length === 0) {
      await this.#fill();
    }
    if (generation !== this.#generation) {
      return null;
    }
    if (this.#waiting.length === 0) {
      this.#waiting = this.#skipped.splice(0);
    }
    const held = this.#waiting.shift() ?? null;
    if (this.#waiting.length <= FEW_LEFT) {
      this.#fill().catch(() => undefined); // whoever needs one of them asks again, and is told
    }
    return held;
  }

  putBack(held: Held): void {
    this.#waiting.unshift(held);
  }

  /** To the end of this session's list; it stays ours. */
  skip(held: Held): void {
    this.#skipped.push(held);
  }

  settled({ candidate, leaseId }: Held): void {
    this.#claims.settled(leaseId);
    // It may have been claimed a second time, if the first claim had ended.
    this.#waiting = this.#waiting.filter((held) => held.candidate.id !== candidate.id);
    this.total = Math.max(0, this.total - 1);
  }

  /** Try to hold one candidate, for example one that was just undone. It is found among those with the same prompt. */
  async hold(candidate: Candidate): Promise<Held> {
    if (!candidate.promptDigest) {
      return { candidate, leaseId: "" };
    }
    const claims = await this.#take({ filter: { promptDigests: [candidate.promptDigest] }, limit: 50 });
    const others = claims.filter((claim) => claim.candidate?.id !== candidate.id).map(({ leaseId }) => leaseId);
    if (others.length > 0) {
      await this.#claims.release(others);
    }
    const mine = claims.find((claim) => claim.candidate?.id === candidate.id);
    return { candidate: mine?.candidate ?? candidate, leaseId: mine?.leaseId ?? "" };
  }

  /** Claim the next ones, if there are any; several callers share one call. */
  #fill(): Promise<void> {
    this.#filling ??= this.#claimNext().finally(() => {
      this.#filling = null;
    });
    return this.#filling;
  }

  async #claimNext(): Promise<void> {
    const generation = this.#generation;
    const request = asked(this.place);
    this.#requestId ||= crypto.randomUUID(); // kept until an answer arrives, so that no claim is forgotten after a break
    const [claims, { total }] = await Promise.all([
      this.#take({ ...request, limit: CLAIMED_AT_ONCE, requestId: this.#requestId }),
      this.client.queue({ ...request, perPage: 1 }),
    ]);
    if (generation !== this.#generation) {
      await this.#claims.release(claims.map(({ leaseId }) => leaseId));
      return;
    }
    this.#requestId = "";
    this.total = Number(total);
    this.#waiting.push(...claims.map((claim) => ({ candidate: claim.candidate!, leaseId: claim.leaseId })));
  }

  async #take(request: Parameters<Claims["take"]>[0]): Promise<readonly Claim[]> {
    const claims = await this.#takeNamed(request);
    this.name = claims[0]?.reviewer ?? this.name;
    return claims;
  }

  async #takeNamed(request: Parameters<Claims["take"]>[0]): Promise<readonly Claim[]> {
    try {
      return await this.#claims.take(request);
    } catch (thrown) {
      const isName = thrown instanceof InvalidField && thrown.fieldViolations.some(({ field }) => field === "reviewer");
      if (!isName || !this.reviewer) {
        throw thrown;
      }
      // A token names the reviewer; another name is refused.
      this.reviewer = "";
      this.#claims = this.#claimsOf("");
      return this.#claims.take(request);
    }
  }

  #claimsOf(reviewer: string): Claims {
    return this.client.claims({
      reviewer,
      leaseSeconds: LEASE_SECONDS,
      onLost: ({ leaseId }) => {
        this.#waiting = this.#waiting.filter((held) => held.leaseId !== leaseId);
        this.#skipped = this.#skipped.filter((held) => held.leaseId !== leaseId);
        this.lost(leaseId);
      },
    });
  }
}
