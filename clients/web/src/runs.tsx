import { type ImportResponse, OnConflict, type UploadRunResponse } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useState } from "preact/hooks";
import { said, useListing } from "./answers.js";
import { Unread } from "./parts.js";
import { counted } from "./words.js";

type Counts = ImportResponse | UploadRunResponse;

/** The benchmark runs of the server, and a run from this machine: each is imported by a button. */
export function Runs({ client, imported }: { client: ReviewClient; imported: () => void }) {
  const [round, again] = useState(0);
  const [told, tell] = useState("");
  const [counts, count] = useState<Counts | null>(null);
  const [isQualified, qualify] = useState(false);
  const [isBusy, work] = useState(false);
  const { items, said: sentence, isReading, more } = useListing(() => client.runs(), [client, round]);
  const onConflict = isQualified ? OnConflict.QUALIFY : OnConflict.SKIP;

  const load = async (runId: string, take: () => Promise<Counts>) => {
    work(true);
    count(null);
    tell(`${runId}: importing …`);
    try {
      const done = await take();
      const sums = [`${done.imported} imported`, `${done.skipped} known already`, counted(done.malformed, "malformed line")];
      sums.push(...(done.conflicts ? [`${done.conflicts} in conflict`] : []));
      sums.push(...(done.qualified ? [`${done.qualified} renamed`] : []));
      tell(`${runId}: ${sums.join(", ")}`);
      count(done);
      imported();
    } catch (thrown) {
      tell(`${runId}: ${said(thrown)}`);
    }
    work(false);
    again((before) => before + 1);
  };
  const send = (file: File, runId: string) => {
    const onProgress = (bytes: number) => tell(`${runId}: ${Math.round((100 * bytes) / file.size)} % sent`);
    return load(runId, () => client.sendRun(runId, file, { onConflict, onProgress }));
  };

  return (
    <>
      <h2>Benchmark runs</h2>
      <p role="status">{told}</p>
      {counts && counts.problems.length > 0 && <Problems counts={counts} />}
      <label class="choice">
        <input type="checkbox" checked={isQualified} onChange={(event) => qualify(event.currentTarget.checked)} />
        where an id is known with other content, import it as <code>run/id</code>
      </label>
      <h3>On the server</h3>
      <Unread said={sentence} of="the runs" isReading={isReading} />
      {!sentence && !isReading && items.length === 0 && (
        <p class="quiet">
          There are none. <code>avocet config --bench-results-dir</code> says where they are.
        </p>
      )}
      <ul class="rows">
        {items.map((run) => (
          <li key={run.runId}>
            <code>{run.runId}</code> {counted(run.candidateCount, "candidate")}
            {run.malformedCount > 0n && `, ${counted(run.malformedCount, "malformed line")}`}
            {run.alreadyImported && ", imported already"}{" "}
            <button disabled={isBusy} onClick={() => void load(run.runId, () => client.import({ runId: run.runId, onConflict }))}>
              Import<span class="unseen"> {run.runId}</span>
            </button>
          </li>
        ))}
      </ul>
      {more && <button onClick={more}>More</button>}
      <h3>On this machine</h3>
      <Upload isBusy={isBusy} send={send} />
    </>
  );
}

function Upload({ isBusy, send }: { isBusy: boolean; send: (file: File, runId: string) => Promise<void> }) {
  const [file, choose] = useState<File | null>(null);
  const [runId, name] = useState("");
  const chosen = (picked: File | undefined) => {
    choose(picked ?? null);
    name(picked ? picked.name.replace(/\.[a-z]+$/i, "") : "");
  };
  return (
    <div class="filters">
      <label>
        file of JSON lines{" "}
        <input type="file" accept=".jsonl,.json,.ndjson" onChange={(event) => chosen(event.currentTarget.files?.[0])} />
      </label>
      <label>
        name of the run <input value={runId} onInput={(event) => name(event.currentTarget.value)} />
      </label>
      <button disabled={isBusy || !file || !runId.trim()} onClick={() => file && void send(file, runId.trim())}>
        Send and import
      </button>
    </div>
  );
}

function Problems({ counts }: { counts: Counts }) {
  return (
    <table>
      <caption>The first lines that were not taken</caption>
      <tbody>
        {counts.problems.map(({ line, reason, id }) => (
          <tr key={line.toString()}>
            <th scope="row">line {line.toString()}</th>
            <td>
              {reason} {id && <code>{id}</code>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
