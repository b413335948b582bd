import { type Candidate, type Claim, type Claims, ClaimState, InvalidField, StorageFull } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { asked, type Place } from "./place.js";

/** A candidate that nobody else is handed while we hold it; without a lease id nobody holds it. */
export interface Held {
  readonly candidate: Candidate;
  leaseId: string;
}

/** Who reviews, for every supply of a session. */
export interface Reviewer {
  /** What we call ourselves; "" if a token says it. */
  stated: string;
  /** The name that the service knows us by; "" before it has said it. */
  known: string;
}

const CLAIMED_AT_ONCE = 10;
const FEW_LEFT = 3;
/** After a crash of the browser a candidate is free again so soon. */
const LEASE_SECONDS = 300;

/**
 * The candidates of one place: claimed ahead, renewed, put back, and released in the end. It knows no page.
 *
 * After `leave` it is done with: what it still gets is released at once, and another place has a supply of its own.
 */
export class Supply {
  /** How many match the place, those that others hold included. */
  total = 0;
  /** A write found no room, and no decision has been stored since: the small write of a claim may fit in still. */
  isFull = false;
  #claims: Claims;
  #waiting: Held[] = [];
  #skipped: Held[] = [];
  /** What is shown. */
  #out: Held | null = null;
  #filling: Promise<void> | null = null;
  #requestId = "";
  /** Where reading goes on if nothing can be claimed. */
  #pageToken = "";
  #isOver = false;

  constructor(
    private readonly client: ReviewClient,
    private readonly reviewer: Reviewer,
    private readonly place: Place,
    private readonly lost: (leaseId: string) => void,
  ) {
    this.#claims = this.#claimsOf(reviewer.stated);
  }

  /** Release what is held, and hold nothing more. */
  leave(): Promise<void> {
    this.#isOver = true;
    return this.#claims.close();
  }

  /** The next one, if one is at hand; when few are left, more are read meanwhile. */
  take(): Held | null {
    this.#out = this.#waiting.shift() ?? null;
    if (this.#out && this.#waiting.length <= FEW_LEFT) {
      this.#fill().catch(() => undefined); // whoever needs one of them asks again, and is told
    }
    return this.#out;
  }

  /** Read more; in the end come those that were skipped. */
  async refill(): Promise<void> {
    for (let isOld = true; isOld && this.#waiting.length === 0; ) {
      isOld = this.#filling !== null; // asked for before the last decision, so it may count that, or miss what came back
      await this.#fill();
    }
    if (this.#waiting.length === 0) {
      this.#waiting = this.#skipped.splice(0);
    }
  }

  putBack(held: Held): void {
    this.#out = null;
    this.#waiting.unshift(held);
  }

  /** To the end of this session's list; it stays ours. */
  skip(held: Held): void {
    this.#out = null;
    this.#skipped.push(held);
  }

  /** It was decided, or is somebody else's: it does not come again. */
  settled({ candidate, leaseId }: Held): void {
    this.#claims.settled(leaseId);
    const remains = (held: Held) => held.candidate.id !== candidate.id;
    this.#waiting = this.#waiting.filter(remains);
    this.#skipped = this.#skipped.filter(remains);
    this.#out = this.#out && remains(this.#out) ? this.#out : null;
    this.total = Math.max(0, this.total - 1);
  }

  /** Show this one now, for example one that was just undone. Return what we have of it already, if it is the same. */
  bring(held: Held): Held {
    const { id, revision } = held.candidate;
    const known = [...this.#waiting, ...this.#skipped].find(({ candidate }) => candidate.id === id);
    this.#waiting = this.#waiting.filter((each) => each !== known);
    this.#skipped = this.#skipped.filter((each) => each !== known);
    this.#out = known?.candidate.revision === revision ? known : held;
    return this.#out;
  }

  /** Try to hold one candidate, which is found among those with the same prompt. It has a lease id then. */
  async hold(held: Held): Promise<void> {
    const { id, promptDigest, revision } = held.candidate;
    if (!promptDigest) {
      return;
    }
    const claims = await this.#take({ filter: { promptDigests: [promptDigest] }, limit: 50 });
    const mine = claims.find(({ candidate }) => candidate?.id === id && candidate.revision === revision);
    held.leaseId ||= mine?.leaseId ?? "";
    await this.#claims.release(claims.map(({ leaseId }) => leaseId).filter((leaseId) => leaseId !== held.leaseId));
  }

  /** Claim the next ones, if there are any; several callers share one call. */
  #fill(): Promise<void> {
    this.#filling ??= this.#readNext().finally(() => {
      this.#filling = null;
    });
    return this.#filling;
  }

  async #readNext(): Promise<void> {
    const request = asked(this.place);
    this.#requestId ||= crypto.randomUUID(); // kept until an answer arrives, so that no claim is forgotten after a break
    try {
      const [claims, { total }] = await Promise.all([
        this.#take({ ...request, limit: CLAIMED_AT_ONCE, requestId: this.#requestId }),
        this.client.queue({ ...request, perPage: 1 }),
      ]);
      this.#arrived(claims, total);
    } catch (thrown) {
      if (!(thrown instanceof StorageFull)) {
        throw thrown;
      }
      // Nothing can be claimed on a full disk. Reading goes on.
      this.isFull = true;
      const page = { perPage: CLAIMED_AT_ONCE, pageToken: this.#pageToken };
      const { items, total, nextPageToken } = await this.client.queue({ ...request, ...page, claims: ClaimState.UNCLAIMED });
      this.#pageToken = nextPageToken;
      this.#arrived(items.map((candidate) => ({ candidate, leaseId: "" })), total);
    }
    this.#requestId = "";
  }

  /** What came may be at hand already: undone and shown meanwhile, or read while nothing could be claimed. */
  #arrived(claims: readonly { readonly candidate?: Candidate | undefined; readonly leaseId: string }[], total: bigint): void {
    const atHand = new Map([...this.#waiting, ...this.#skipped].map((held) => [held.candidate.id, held]));
    if (this.#out) {
      atHand.set(this.#out.candidate.id, this.#out);
    }
    for (const { candidate, leaseId } of claims) {
      const known = atHand.get(candidate!.id);
      if (known) {
        known.leaseId ||= leaseId;
      } else {
        this.#waiting.push({ candidate: candidate!, leaseId });
      }
    }
    this.total = Number(total);
  }

  async #take(request: Parameters<Claims["take"]>[0]): Promise<readonly Claim[]> {
    const claims = await this.#takeNamed(request);
    this.reviewer.known = claims[0]?.reviewer ?? this.reviewer.known;
    return claims;
  }

  async #takeNamed(request: Parameters<Claims["take"]>[0]): Promise<readonly Claim[]> {
    try {
      return await this.#claims.take(request);
    } catch (thrown) {
      const isName = thrown instanceof InvalidField && thrown.fieldViolations.some(({ field }) => field === "reviewer");
      if (!isName || !this.reviewer.stated || this.#isOver) {
        throw thrown;
      }
      // A token names the reviewer; another name is refused.
      this.reviewer.stated = "";
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
