import { diffLines, diffWordsWithSpace } from "diff";

export interface Part {
  readonly text: string;
  readonly kind: "same" | "added" | "removed";
}

/** Two wholly different texts take seconds word by word; then the difference of lines has to do. */
const TIMEOUT_MS = 200;

/** The time-out begins after the texts are cut into words, which takes seconds for texts of megabytes. */
const MOST_CHARACTERS = 500_000;

/** Return the difference of two texts, by words or by lines; null if comparing them takes too long. */
export function difference(before: string, after: string): Part[] | null {
  if (before.length + after.length > MOST_CHARACTERS) {
    return null;
  }
  const changes =
    diffWordsWithSpace(before, after, { timeout: TIMEOUT_MS }) ?? diffLines(before, after, { timeout: TIMEOUT_MS });
  return (
    changes?.map(({ value, added, removed }) => ({
      text: value,
      kind: added ? "added" : removed ? "removed" : "same",
    })) ?? null
  );
}
