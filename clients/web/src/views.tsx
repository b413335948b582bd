import type { Run, StatsResponse } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useEffect, useState } from "preact/hooks";
import { hashOf, type Place } from "./place.js";
import { type Session, WORDS } from "./session.js";

/** The decisions of this session, newest first. */
export function Decided({ session }: { session: Session }) {
  return (
    <>
      <h2>Decided in this session</h2>
      {session.decided.length === 0 && <p class="quiet">None yet.</p>}
      <ol reversed>
        {session.decided.toReversed().map(({ candidate, action, at }) => (
          <li key={`${candidate.id} ${at.getTime()}`}>
            {WORDS[action]} <code>{candidate.id}</code> <span class="quiet">{at.toLocaleTimeString()}</span>
          </li>
        ))}
      </ol>
      {session.decided.length > 0 && (
        <button disabled={session.busy} onClick={() => void session.undo()}>
          Undo the last
        </button>
      )}
    </>
  );
}

const COUNTS: readonly (readonly [string, (stats: StatsResponse) => Record<string, bigint>, keyof Place | null])[] = [
  ["By status", (stats) => stats.byStatus, null],
  ["By model", (stats) => stats.byModel, "model"],
  ["By task type", (stats) => stats.byTaskType, "task"],
  ["By source", (stats) => stats.bySource, "source"],
  ["By failure category", (stats) => stats.byFailureCategory, null],
];

/** Counts as tables of figures with bars, so that they read aloud. */
export function Statistics({ client, place }: { client: ReviewClient; place: Place }) {
  const stats = useAnswer(() => client.stats({}), [client]);
  if (typeof stats === "string") {
    return <p class="quiet late">{stats}</p>;
  }
  return (
    <>
      <h2>Statistics</h2>
      <p>
        <b>{stats.total.toLocaleString()}</b> candidates, <b>{stats.exportReady.toLocaleString()}</b> examples ready for export,{" "}
        {stats.malformed.toLocaleString()} malformed lines
      </p>
      <div class="tables">
        {COUNTS.map(([title, of, filter]) => (
          <Bars key={title} title={title} counts={of(stats)} place={place} filter={filter} />
        ))}
      </div>
    </>
  );
}

interface BarsProps {
  title: string;
  counts: Record<string, bigint>;
  place: Place;
  filter: keyof Place | null;
}

function Bars({ title, counts, place, filter }: BarsProps) {
  const rows = Object.entries(counts)
    .map(([word, count]) => [word, Number(count)] as const)
    .sort((one, other) => other[1] - one[1]);
  const most = Math.max(1, ...rows.map(([, count]) => count));
  if (rows.length === 0) {
    return null;
  }
  return (
    <table>
      <caption>{title}</caption>
      <tbody>
        {rows.map(([word, count]) => (
          <tr key={word}>
            <th scope="row">
              {filter ? <a href={hashOf({ ...place, view: "review", [filter]: word })}>{word}</a> : word}
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

/** The benchmark runs, each with a button that imports it. */
export function Runs({ client, imported }: { client: ReviewClient; imported: () => void }) {
  const [round, again] = useState(0);
  const [said, say] = useState("");
  const found = useAnswer(async () => {
    const runs: Run[] = [];
    for await (const run of client.runs()) {
      runs.push(run);
    }
    return runs;
  }, [client, round]);
  const load = async (runId: string) => {
    try {
      const done = await client.import({ runId });
      say(`${runId}: ${done.imported} imported, ${done.skipped} known already, ${done.malformed} malformed lines`);
      imported();
    } catch (thrown) {
      say(`${runId}: ${thrown instanceof Error ? thrown.message : thrown}`);
    }
    again((before) => before + 1);
  };
  return (
    <>
      <h2>Benchmark runs</h2>
      <p role="status">{said}</p>
      {typeof found === "string" && <p class="quiet late">{found}</p>}
      {typeof found !== "string" && found.length === 0 && (
        <p class="quiet">
          There are none. <code>avocet config --bench-results-dir</code> says where they are.
        </p>
      )}
      <ul class="runs">
        {typeof found !== "string" &&
          found.map((run) => (
            <li key={run.runId}>
              <code>{run.runId}</code> {run.candidateCount.toLocaleString()} candidates
              {run.alreadyImported && ", imported already"}{" "}
              <button onClick={() => void load(run.runId)}>Import</button>
            </li>
          ))}
      </ul>
    </>
  );
}

/** The answer of a call, or a sentence while there is none. */
function useAnswer<T extends object>(ask: () => Promise<T>, inputs: readonly unknown[]): T | string {
  const [answer, set] = useState<T | string>("Reading …");
  useEffect(() => {
    let isCurrent = true;
    ask().then(
      (value) => isCurrent && set(value),
      (thrown: unknown) => isCurrent && set(thrown instanceof Error ? thrown.message : `${thrown}`),
    );
    return () => {
      isCurrent = false;
    };
  }, inputs);
  return answer;
}
