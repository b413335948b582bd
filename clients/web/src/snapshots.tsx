import type { ReviewClient } from "@avocet/client/review";
import { useState } from "preact/hooks";
import { said, useListing } from "./answers.js";
import { Unread } from "./parts.js";
import { counted, timeOf } from "./words.js";

/** Revisions with a name, so that a training run can say what it was trained on. */
export function Snapshots({ client }: { client: ReviewClient }) {
  const [round, again] = useState(0);
  const [told, tell] = useState("");
  const [name, setName] = useState("");
  const [note, setNote] = useState("");
  const { items, said: sentence, isReading, more } = useListing(() => client.snapshots(), [client, round]);
  const change = async (work: () => Promise<unknown>, done: string) => {
    try {
      await work();
      tell(done);
    } catch (thrown) {
      tell(said(thrown));
    }
    again((before) => before + 1);
  };
  const remove = (each: string) => {
    if (confirm(`Delete the snapshot ${each}? What it keeps may be pruned then.`)) {
      void change(() => client.deleteSnapshot({ name: each }), `Deleted: ${each}`);
    }
  };
  return (
    <>
      <h2>Snapshots</h2>
      <p role="status">{told}</p>
      <div class="filters">
        <label>
          name <input value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label>
          note <input value={note} onInput={(event) => setNote(event.currentTarget.value)} />
        </label>
        <button disabled={!name} onClick={() => void change(() => client.createSnapshot({ name, note }), `Made: ${name}`)}>
          Name what is approved now
        </button>
      </div>
      <Unread said={sentence} of="the snapshots" isReading={isReading} />
      {!sentence && !isReading && items.length === 0 && <p class="quiet">There are none yet.</p>}
      <ul class="rows">
        {items.map((snapshot) => (
          <li key={snapshot.name}>
            <code>{snapshot.name}</code> {counted(snapshot.exampleCount, "example")}, {timeOf(snapshot.createdAt)}
            {snapshot.createdBy && `, by ${snapshot.createdBy}`} {snapshot.note && <q>{snapshot.note}</q>}{" "}
            <code class="quiet">avocet export --snapshot {snapshot.name}</code>{" "}
            <button onClick={() => remove(snapshot.name)}>
              Delete<span class="unseen"> {snapshot.name}</span>
            </button>
          </li>
        ))}
      </ul>
      {more && <button onClick={more}>More</button>}
    </>
  );
}
