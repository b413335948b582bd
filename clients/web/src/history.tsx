import { type Change, ChangeAction } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useState } from "preact/hooks";
import { said, useListing } from "./answers.js";
import { Unread } from "./parts.js";
import { candidateHash, hashOf, type Place } from "./place.js";
import type { Session } from "./session.js";
import { timeOf } from "./words.js";

const DECISIONS = [ChangeAction.CORRECT, ChangeAction.DISCARD, ChangeAction.FLAG, ChangeAction.UNDO];
const WORDS: Readonly<Record<ChangeAction, string>> = {
  [ChangeAction.UNSPECIFIED]: "changed",
  [ChangeAction.CORRECT]: "approved",
  [ChangeAction.DISCARD]: "discarded",
  [ChangeAction.FLAG]: "flagged",
  [ChangeAction.UNDO]: "undone",
  [ChangeAction.INGEST]: "ingested",
  [ChangeAction.IMPORT]: "imported",
  [ChangeAction.ADD]: "added by another program",
  [ChangeAction.EDIT]: "edited by another program",
  [ChangeAction.REMOVE]: "removed by another program",
  [ChangeAction.OVERRULE]: "not taken from another program",
};

/** The decisions of everybody or of one person, newest first, as the service keeps them. */
export function DecidedView({ session, place }: { session: Session; place: Place }) {
  const { client } = session;
  const [round, again] = useState(0);
  const [told, tell] = useState("");
  const actors = place.who ? [place.who] : [];
  const { items, said: sentence, isReading, more } = useListing(
    () => client.history({ actors, actions: DECISIONS }),
    [client, place.who, round],
  );
  const undo = async ({ id, revision }: Change) => {
    try {
      await client.undo({ id, expectedRevision: revision, reviewer: session.reviewer.stated });
      session.stack.forget(id);
      tell(`Undone: ${id}`);
    } catch (thrown) {
      tell(said(thrown));
    }
    again((before) => before + 1);
  };
  const me = session.reviewer.known;
  return (
    <>
      <h2>Decided</h2>
      <p>
        {place.who ? (
          <>
            By {place.who}. <a href={hashOf({ ...place, who: "" })}>By everybody</a>
          </>
        ) : (
          <>By everybody. {me && <a href={hashOf({ ...place, who: me })}>By me</a>}</>
        )}
      </p>
      <p role="status">{told}</p>
      {session.stack.length > 0 && (
        <button onClick={() => void session.undo().then(() => again((before) => before + 1))}>
          Undo the last of this session <kbd>u</kbd>
        </button>
      )}
      <Changes items={items} undo={undo} />
      <Unread said={sentence} of="the decisions" isReading={isReading} />
      {!sentence && !isReading && items.length === 0 && <p class="quiet">None yet.</p>}
      {more && <button onClick={more}>More</button>}
    </>
  );
}

function Changes({ items, undo }: { items: readonly Change[]; undo: (change: Change) => Promise<void> }) {
  const newest = new Map<string, Change>();
  items.forEach((change) => newest.has(change.id) || newest.set(change.id, change));
  return (
    <ul class="rows">
      {items.map((change) => (
        <li key={`${change.revision} ${change.id}`}>
          {WORDS[change.action]} <a href={candidateHash(change.id)}>{change.id}</a>{" "}
          <span class="quiet">
            {change.actor && `by ${change.actor}, `}
            {timeOf(change.at)}
          </span>{" "}
          {newest.get(change.id) === change && change.action !== ChangeAction.UNDO && (
            <button onClick={() => void undo(change)}>
              Undo<span class="unseen"> {change.id}</span>
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

/** What happened to one candidate, newest first, with what each change set. */
export function HistoryOf({ client, id, round }: { client: ReviewClient; id: string; round: number }) {
  const { items, said: sentence, isReading, more } = useListing(() => client.history({ id }), [client, id, round]);
  return (
    <section aria-label="History">
      <h3>history</h3>
      <Unread said={sentence} of="the history" isReading={isReading} />
      <ul class="rows">
        {items.map((change) => (
          <li key={`${change.revision} ${change.file}`}>
            {WORDS[change.action]}{" "}
            <span class="quiet">
              {change.actor && `by ${change.actor}, `}
              {timeOf(change.at)}
            </span>
            {change.fields.length > 0 && (
              <details>
                <summary>{change.fields.map(({ name }) => name).join(", ")}</summary>
                <dl>
                  {change.fields.map(({ name, beforeJson, afterJson }) => (
                    <div key={name}>
                      <dt>{name}</dt>
                      <dd>
                        <del>{beforeJson}</del> <ins>{afterJson}</ins>
                      </dd>
                    </div>
                  ))}
                </dl>
              </details>
            )}
          </li>
        ))}
      </ul>
      {more && <button onClick={more}>More</button>}
    </section>
  );
}
