import { Action, type Candidate, FailureCategory } from "@avocet/client";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Difference, Message, Text } from "./parts.js";
import { CATEGORIES, isFiltered, type Place } from "./place.js";
import type { Session } from "./session.js";

export function Review({ session, isRaw, place }: { session: Session; isRaw: boolean; place: Place }) {
  const { candidate } = session;
  if (!candidate) {
    return session.loaded ? <Nothing session={session} place={place} /> : <p class="quiet late">Reading the queue …</p>;
  }
  return (
    <>
      <Heading key={candidate.id} candidate={candidate} />
      <div class="columns">
        <section aria-label="Prompt and response">
          {candidate.promptMessages.map((message, place) => (
            <Message key={place} message={message} isRaw={isRaw} />
          ))}
          {candidate.promptJson && <Text text={candidate.promptJson} isRaw />}
          <section class="message">
            <h3>response</h3>
            <Text text={candidate.modelResponse || candidate.modelResponseJson} isRaw={isRaw} />
          </section>
        </section>
        <Correction key={candidate.id} session={session} candidate={candidate} />
      </div>
      <Actions session={session} />
    </>
  );
}

function Heading({ candidate }: { candidate: Candidate }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => heading.current?.focus(), []);
  const score = candidate.qualityScore;
  return (
    <>
      <h2 ref={heading} tabIndex={-1}>
        {candidate.taskName || candidate.taskType || "Candidate"}
      </h2>
      <ul class="chips" aria-label="About it">
        {candidate.modelName && <li>{candidate.modelName}</li>}
        {candidate.taskType && <li>{candidate.taskType}</li>}
        {candidate.benchmarkRunId && <li>{candidate.benchmarkRunId}</li>}
        {score !== undefined && <li>score {score.toFixed(2)}</li>}
        {candidate.failureReason && <li>{candidate.failureReason}</li>}
        <li>
          <button class="chip" onClick={() => void navigator.clipboard?.writeText(candidate.id)} title="Copy the id">
            {candidate.id}
          </button>
        </li>
      </ul>
    </>
  );
}

function Correction({ session, candidate }: { session: Session; candidate: Candidate }) {
  const editor = useRef<HTMLTextAreaElement>(null);
  const isOpen = session.text !== null;
  useLayoutEffect(() => {
    if (isOpen) {
      editor.current?.focus();
    }
  }, [isOpen]);
  return (
    <section class="correction" aria-label="Correction">
      {session.text === null ? (
        <button class="wide" onClick={() => session.edit()}>
          Correct it <kbd>c</kbd>
        </button>
      ) : (
        <>
          <label>
            <h3>correction</h3>
            <textarea
              ref={editor}
              value={session.text}
              spellcheck={false}
              onInput={(event) => session.type(event.currentTarget.value)}
            />
          </label>
          <p class="quiet" aria-live="polite">
            {session.draftKept ? "draft kept" : ""}
          </p>
          <h3>difference</h3>
          <Difference before={candidate.modelResponse} after={session.text} />
        </>
      )}
      {session.olderDraft !== null && (
        <p class="notice">
          There is a draft of an older version. <button onClick={() => session.takeOlderDraft()}>Use it</button>
        </p>
      )}
      <fieldset>
        <legend>What was wrong</legend>
        {[[FailureCategory.UNSPECIFIED, "not said"] as const, ...CATEGORIES].map(([category, word], place) => (
          <label key={category} class="choice">
            <input
              type="radio"
              name="category"
              checked={session.category === category}
              onChange={() => session.choose(category)}
            />
            {word} <kbd>{place}</kbd>
          </label>
        ))}
      </fieldset>
    </section>
  );
}

function Actions({ session }: { session: Session }) {
  const { busy } = session;
  const decide = (action: Action) => () => void session.decide(action);
  return (
    <div class="actions" role="toolbar" aria-label="Decision">
      <button class="primary" disabled={busy || !session.text?.trim()} onClick={decide(Action.CORRECT)}>
        Approve <kbd>Ctrl+Enter</kbd>
      </button>
      <button disabled={busy} onClick={decide(Action.DISCARD)}>
        Discard <kbd>d</kbd>
      </button>
      <button disabled={busy} onClick={decide(Action.FLAG)}>
        Flag <kbd>f</kbd>
      </button>
      <button disabled={busy} onClick={() => session.skip()}>
        Skip <kbd>s</kbd>
      </button>
      <button disabled={busy || session.decided.length === 0} onClick={() => void session.undo()}>
        Undo <kbd>u</kbd>
      </button>
    </div>
  );
}

function Nothing({ session, place }: { session: Session; place: Place }) {
  return (
    <>
      <h2>{isFiltered(place) ? "No candidate matches" : "Nothing is left to review"}</h2>
      <p>
        {session.decided.length > 0 && `You decided ${session.decided.length} in this session. `}
        {isFiltered(place) ? <a href="#/">Clear the filters</a> : <a href="#/runs">Import a benchmark run</a>}
      </p>
      <p class="quiet">
        Approved corrections leave by <code>avocet export</code>.
      </p>
    </>
  );
}
