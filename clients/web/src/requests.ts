import { Action, type Candidate, type FailureCategory } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { failureOf } from "./failures.js";
import { correctedMessage } from "./message.js";
import type { Decided } from "./stack.js";
import type { Held, Reviewer } from "./supply.js";

/** The writes of a session. Each content has one request id: to repeat it after a break cannot store it twice. */
export class Requests {
  readonly #ids = new Map<string, string>();

  constructor(
    private readonly client: ReviewClient,
    private readonly reviewer: Reviewer,
  ) {}

  /** Decide; return the candidate's revision. `text` is the correction, if it is one. */
  async decide({ candidate, leaseId }: Held, sent: Decided, text: string | null, failureCategory: FailureCategory) {
    const isCorrection = sent.action === Action.CORRECT;
    const request = {
      id: candidate.id,
      action: sent.action,
      ...(isCorrection && (sent.isMessage ? { correctedMessage: correctedMessage(text!) } : { correctedResponse: text! })),
      failureCategory,
      expectedRevision: candidate.revision,
      ...(leaseId ? { leaseId } : { reviewer: this.reviewer.stated }),
    };
    const done = await this.client.submit({ ...request, requestId: this.#idOf(request) });
    return (done.candidate?.revision ?? candidate.revision).toString();
  }

  /** Undo a decision; return the candidate before and after, or nothing if somebody else has changed it since. */
  async undo({ id, revision }: Decided): Promise<readonly (Candidate | undefined)[]> {
    try {
      const before = (await this.client.getCandidate({ id })).candidate;
      if (!revision && before?.reviewedBy !== (this.reviewer.known || this.reviewer.stated)) {
        return [];
      }
      const expectedRevision = revision ? BigInt(revision) : before!.revision;
      const request = { id, expectedRevision, reviewer: this.reviewer.stated };
      const { candidate: after } = await this.client.undo({ ...request, requestId: this.#idOf(request) });
      return [before, after];
    } catch (thrown) {
      if (failureOf(thrown) !== "conflict") {
        throw thrown;
      }
      return [];
    }
  }

  #idOf(request: { readonly id: string }): string {
    const key = JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
    const id = this.#ids.get(key) ?? crypto.randomUUID();
    this.#ids.set(key, id);
    return id;
  }
}
