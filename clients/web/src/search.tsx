import type { Candidate } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useState } from "preact/hooks";
import { useListing } from "./answers.js";
import { asked, candidateHash, hashOf, type Place, STATUSES } from "./place.js";
import { Skeleton } from "./parts.js";
import { statusOf } from "./words.js";

const FEWEST_CHARACTERS = 3;

/** Candidates of any status, by a piece of their text. What is searched for stands in the address. */
export function Search({ client, place }: { client: ReviewClient; place: Place }) {
  const [typed, type] = useState(place.text);
  const go = (change: Partial<Place>) => {
    location.hash = hashOf({ ...place, ...change });
  };
  return (
    <>
      <h2>Search</h2>
      <form
        class="filters"
        role="search"
        aria-label="Candidates"
        onSubmit={(event) => {
          event.preventDefault();
          go({ text: typed });
        }}
      >
        <label>
          text in prompt, response or correction{" "}
          <input type="search" value={typed} onInput={(event) => type(event.currentTarget.value)} />
        </label>
        <label>
          status{" "}
          <select value={place.status} onChange={(event) => go({ text: typed, status: event.currentTarget.value })}>
            <option value="">any</option>
            {STATUSES.map(([, word]) => (
              <option key={word} value={word}>
                {word}
              </option>
            ))}
          </select>
        </label>
        <button>Search</button>
      </form>
      {place.text && place.text.length < FEWEST_CHARACTERS ? (
        <p class="notice wrong">Type at least {FEWEST_CHARACTERS} characters.</p>
      ) : (
        <Found client={client} place={place} />
      )}
    </>
  );
}

function Found({ client, place }: { client: ReviewClient; place: Place }) {
  const statuses = STATUSES.flatMap(([status, word]) => (word === place.status ? [status] : []));
  const request = { text: place.text, statuses, filter: asked(place).filter };
  const { items, said, isReading, more } = useListing(() => client.search(request), [client, JSON.stringify(request)]);
  return (
    <>
      <ul class="rows">
        {items.map((candidate) => (
          <li key={candidate.id}>
            <a href={candidateHash(candidate.id)}>{candidate.id}</a> {statusOf(candidate.status)}{" "}
            <span class="quiet">{excerpt(candidate, place.text)}</span>
          </li>
        ))}
      </ul>
      {isReading && <Skeleton of="what is found" />}
      <p role="status" class="quiet">
        {said || isReading || (items.length === 0 ? "Nothing is found." : `${items.length}${more ? " or more" : ""} found`)}
      </p>
      {more && <button onClick={more}>More</button>}
    </>
  );
}

/** The text around what was found. */
function excerpt({ correctedResponse, modelResponse, promptMessages }: Candidate, text: string): string {
  const texts = [correctedResponse ?? "", modelResponse, ...promptMessages.map(({ content, contentJson }) => content ?? contentJson)];
  const places = texts.map((each) => each.toLowerCase().indexOf(text.toLowerCase()));
  const which = Math.max(0, places.findIndex((place) => place >= 0));
  const start = Math.max(0, (places[which] ?? 0) - 60);
  return `${start > 0 ? "…" : ""}${(texts[which] ?? "").slice(start, start + 160)}`;
}
