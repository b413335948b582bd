import type { StatsResponse } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useAnswer } from "./answers.js";
import { Unread } from "./parts.js";
import { hashOf, type Place } from "./place.js";
import { counted } from "./words.js";

/** A table's title, its counts, and where a click on a word leads: to the queue, or to a search. */
type Counted = readonly [
  title: string,
  countsOf: (stats: StatsResponse) => Record<string, bigint>,
  filter: "status" | "model" | "task" | "source" | "category",
];

const COUNTED: readonly Counted[] = [
  ["By status", (stats) => stats.byStatus, "status"],
  ["By model", (stats) => stats.byModel, "model"],
  ["By task type", (stats) => stats.byTaskType, "task"],
  ["By source", (stats) => stats.bySource, "source"],
  ["By failure category", (stats) => stats.byFailureCategory, "category"],
];

/** Counts as tables of figures with bars, so that they read aloud. */
export function Statistics({ client, place }: { client: ReviewClient; place: Place }) {
  const stats = useAnswer(() => client.stats({}), [client]);
  if (typeof stats === "string") {
    return <Unread said={stats} of="the figures" />;
  }
  return (
    <>
      <h2>Statistics</h2>
      <p>
        <b>{counted(stats.total, "candidate")}</b>, <b>{counted(stats.exportReady, "example")}</b> ready for{" "}
        <code>avocet export</code>, {stats.claimed.toLocaleString()} claimed now, {counted(stats.malformed, "malformed line")}
      </p>
      <div class="tables">
        {COUNTED.map(([title, countsOf, filter]) => (
          <Bars key={title} title={title} counts={countsOf(stats)} place={place} filter={filter} />
        ))}
      </div>
    </>
  );
}

interface BarsProps {
  title: string;
  counts: Record<string, bigint>;
  place: Place;
  filter: Counted[2];
}

function Bars({ title, counts, place, filter }: BarsProps) {
  const rows = Object.entries(counts)
    .map(([word, count]) => [word, Number(count)] as const)
    .sort((one, other) => other[1] - one[1]);
  const most = Math.max(1, ...rows.map(([, count]) => count));
  if (rows.length === 0) {
    return null;
  }
  /** Our own words are shown with blanks in the address; those of the records stay as they are. */
  const leadsTo = (word: string) =>
    filter === "status" || filter === "category"
      ? hashOf({ ...place, view: filter === "status" ? "search" : "review", [filter]: word.replaceAll("_", " ") })
      : hashOf({ ...place, view: "review", [filter]: word });
  return (
    <table>
      <caption>{title}</caption>
      <tbody>
        {rows.map(([word, count]) => (
          <tr key={word}>
            <th scope="row">
              <a href={leadsTo(word)}>{word}</a>
            </th>
            <td class="figure">{count.toLocaleString()}</td>
            <td class="bar" aria-hidden="true">
              <svg viewBox="0 0 100 10" preserveAspectRatio="none">
                <rect width={(100 * count) / most} height="10" />
              </svg>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
