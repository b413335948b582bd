import type { Calls } from "./calls.js";
import type { Fields } from "./fields.js";
import type { Claim, ClaimRequestSchema } from "./gen/avocet/corrections/v1/corrections_pb.js";

/** Which candidates to claim, and how many; whose they are and for how long is said once, in `ClaimsOptions`. */
export type TakeRequest = Fields<typeof ClaimRequestSchema, "reviewer" | "leaseSeconds">;

export interface ClaimsOptions {
  /** Who claims. Required unless a token names the caller. */
  readonly reviewer?: string;
  /** How long a claim lasts when nobody renews it, for example after a crash: 10 to 3,600; 600 if left out. */
  readonly leaseSeconds?: number;
  /** Is told of each claim that ended although nobody settled or released it here. */
  readonly onLost?: (claim: Claim) => void;
}

interface Held {
  readonly claim: Claim;
  /** By this process's clock; the server's may differ, so it is counted from before the call. */
  endsAt: number;
}

/** Claims that renew themselves at half their time, until they are settled, released or lost. */
export class Claims {
  readonly #held = new Map<string, Held>();
  readonly #leaseMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dueAt = 0;
  #closings = 0;

  constructor(
    private readonly calls: Pick<Calls, "claim" | "renewClaims" | "releaseClaims">,
    private readonly options: ClaimsOptions = {},
  ) {
    this.#leaseMs = (options.leaseSeconds ?? 600) * 1_000;
  }

  /** What is held now. */
  get held(): readonly Claim[] {
    return [...this.#held.values()].map(({ claim }) => claim);
  }

  /**
   * Claim candidates; fewer or none come if there are no more. Nobody else gets the same ones. If `close` is called
   * before the answer is there, what comes is released at once, and nothing is returned.
   */
  async take(request: TakeRequest = {}): Promise<readonly Claim[]> {
    const { reviewer = "", leaseSeconds = 600 } = this.options;
    const endsAt = Date.now() + this.#leaseMs;
    const closings = this.#closings;
    const { claims } = await this.calls.claim({ ...request, reviewer, leaseSeconds });
    if (closings !== this.#closings) {
      await this.release(claims.map(({ leaseId }) => leaseId)).catch(() => undefined);
      return [];
    }
    claims.forEach((claim) => this.#held.set(claim.leaseId, { claim, endsAt }));
    this.#renewLater(this.#leaseMs / 2);
    return claims;
  }

  /** A decision with this lease id was stored, and has ended the claim. */
  settled(leaseId: string): void {
    this.#held.delete(leaseId);
  }

  /** End claims, all if none is named. With `postponeSeconds` this reviewer does not get them again so soon. */
  async release(leaseIds: readonly string[] = [...this.#held.keys()], postponeSeconds = 0): Promise<void> {
    leaseIds.forEach((leaseId) => this.#held.delete(leaseId));
    for (let start = 0; start < leaseIds.length; start += 500) {
      await this.calls.releaseClaims({ leaseIds: leaseIds.slice(start, start + 500), postponeSeconds });
    }
  }

  /** Renew all that is held now, without waiting for half its time. */
  async renew(): Promise<void> {
    const leaseIds = [...this.#held.keys()];
    const endsAt = Date.now() + this.#leaseMs;
    for (let start = 0; start < leaseIds.length; start += 500) {
      const part = leaseIds.slice(start, start + 500);
      const { claims, lost } = await this.calls.renewClaims({
        leaseIds: part,
        leaseSeconds: this.options.leaseSeconds ?? 600,
      });
      claims.forEach(({ leaseId }) => {
        const held = this.#held.get(leaseId);
        if (held) {
          held.endsAt = endsAt;
        }
      });
      lost.forEach((leaseId) => this.#lose(leaseId));
    }
  }

  /** Stop renewing and release everything. What cannot be released ends by its time. */
  async close(): Promise<void> {
    this.#closings += 1;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.release().catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Renew after this time, or when it is due already: what was taken before must not wait for what is taken now. */
  #renewLater(afterMs: number): void {
    const dueAt = Date.now() + afterMs;
    if (this.#timer !== undefined && this.#dueAt <= dueAt) {
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#held.size > 0) {
      this.#dueAt = dueAt;
      this.#timer = setTimeout(() => void this.#renewNow(), afterMs);
      // A program of Node that has nothing else to do may end.
      (this.#timer as { unref?: () => void }).unref?.();
    }
  }

  async #renewNow(): Promise<void> {
    this.#timer = undefined;
    const closings = this.#closings;
    const renewLater = (afterMs: number) => closings === this.#closings && this.#renewLater(afterMs);
    try {
      await this.renew();
      renewLater(this.#leaseMs / 2);
    } catch {
      // The service is away: a claim lives on at the server until its time, and so it does here.
      const now = Date.now();
      [...this.#held].filter(([, { endsAt }]) => endsAt <= now).forEach(([leaseId]) => this.#lose(leaseId));
      renewLater(this.#leaseMs / 20);
    }
  }

  #lose(leaseId: string): void {
    const held = this.#held.get(leaseId);
    if (held && this.#held.delete(leaseId)) {
      this.options.onLost?.(held.claim);
    }
  }
}
