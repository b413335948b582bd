import { failureOf } from "./failures.js";

const RETRY_MS = 2_000;

/** The time in which the service does not answer: it is asked every two seconds. */
export class Outage {
  isOn = false;
  #count = 0;

  constructor(
    private readonly ask: () => Promise<unknown>,
    private readonly changed: () => void,
  ) {}

  /** Wait until the service answers. Return whether it does: false if another wait is under way, or it was ended. */
  async wait(firstMs = RETRY_MS): Promise<boolean> {
    if (this.isOn) {
      return false;
    }
    this.isOn = true;
    this.#count += 1;
    const count = this.#count;
    this.changed();
    for (let pauseMs = firstMs, isAway = true; isAway; pauseMs = RETRY_MS) {
      await pause(pauseMs);
      isAway = await this.ask().then(
        () => false,
        (thrown: unknown) => failureOf(thrown) === "away",
      );
      if (count !== this.#count) {
        return false;
      }
    }
    this.isOn = false;
    return true;
  }

  end(): void {
    this.isOn = false;
    this.#count += 1;
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
