import { Action, type Candidate, FailureCategory } from "@avocet/client";
import { useLayoutEffect, useRef } from "preact/hooks";
import { useAnswer } from "./answers.js";
import { Boundary } from "./boundary.js";
import { mayCallTools, responseMessage, toolNames, withCall } from "./message.js";
import { Chips, Conversation, Difference, Preview, Skeleton } from "./parts.js";
import { CATEGORIES, hashOf, isFiltered, type Place, unfiltered } from "./place.js";
import type { Session } from "./session.js";
import { counted } from "./words.js";

export function Review({ session, isRaw, place }: { session: Session; isRaw: boolean; place: Place }) {
  const { candidate } = session;
  if (!candidate) {
    return session.reading ? <Reading session={session} /> : <Nothing session={session} place={place} />;
  }
  // With this key nothing on the screen outlives its candidate, whatever goes wrong.
  return (
    <>
      <Boundary key={`${candidate.id} ${candidate.revision}`} of="the candidate" id={candidate.id}>
        <Heading candidate={candidate} />
        <Shown session={session} candidate={candidate} isRaw={isRaw} />
      </Boundary>
      <Actions session={session} />
    </>
  );
}

function Shown({ session, candidate, isRaw }: { session: Session; candidate: Candidate; isRaw: boolean }) {
  const { text, isMessage } = session.editor;
  const hasPreview = text !== null && !isMessage;
  return (
    <>
      {session.isLost && (
        <p class="notice wrong" role="alert">
          Your claim on this candidate has ended, so somebody else may be at work on it. Your text is kept.{" "}
          <button onClick={() => void session.claimAgain()}>Claim it again</button>
        </p>
      )}
      <div class={hasPreview ? "columns editing" : "columns"}>
        <Conversation candidate={candidate} isRaw={isRaw} />
        <Correction session={session} candidate={candidate} />
        {hasPreview && (
          <Boundary of="the preview">
            <Preview text={text} />
          </Boundary>
        )}
      </div>
    </>
  );
}

function Reading({ session }: { session: Session }) {
  if (session.reading === "under way") {
    return <Skeleton of="the queue" />;
  }
  return (
    <>
      <h2>The queue could not be read</h2>
      <button onClick={() => void session.readAgain()}>Try again</button>
    </>
  );
}

function Heading({ candidate }: { candidate: Candidate }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => heading.current?.focus(), []);
  return (
    <>
      <h2 ref={heading} tabIndex={-1}>
        {candidate.taskName || candidate.taskType || "Candidate"}
      </h2>
      <Chips candidate={candidate} />
    </>
  );
}

function Correction({ session, candidate }: { session: Session; candidate: Candidate }) {
  const { editor } = session;
  return (
    <section class="correction" aria-label="Correction">
      {editor.text === null ? (
        <button class="wide" onClick={() => session.editor.open()}>
          Correct it <kbd>c</kbd>
        </button>
      ) : (
        <Editor session={session} candidate={candidate} text={editor.text} />
      )}
      {(mayCallTools(candidate) || editor.isMessage) && (
        <button class="wide" onClick={() => session.editor.change()}>
          {editor.isMessage ? "Correct with plain text" : "Correct with tool calls"} <kbd>t</kbd>
        </button>
      )}
      {editor.olderDraft !== null && (
        <p class="notice">
          There is a draft of an older version. <button onClick={() => editor.takeOlderDraft()}>Use it</button>
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

function Editor({ session, candidate, text }: { session: Session; candidate: Candidate; text: string }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const { editor } = session;
  useLayoutEffect(() => area.current?.focus(), [editor.isMessage]);
  const fault = session.notice?.kind === "field" ? session.notice.text : "";
  return (
    <>
      <label>
        <h3>{editor.isMessage ? "correction, a message with tool calls" : "correction"}</h3>
        <textarea
          ref={area}
          value={text}
          readOnly={session.isSent}
          spellcheck={false}
          aria-invalid={fault !== ""}
          aria-describedby="fault"
          onInput={(event) => editor.type(event.currentTarget.value)}
        />
      </label>
      <p id="fault" class="fault">
        {fault}
      </p>
      <p class="quiet" aria-live="polite">
        {editor.draftKept ? "draft kept" : ""}
      </p>
      {editor.isMessage && (
        <p>
          {toolNames(candidate).map((name) => (
            <button key={name} onClick={() => editor.type(withCall(text, name))}>
              Add a call of {name}
            </button>
          ))}
        </p>
      )}
      <h3>difference</h3>
      <Boundary key={`${editor.isMessage}`} of="the difference">
        <Difference before={editor.isMessage ? responseMessage(candidate) : candidate.modelResponse} after={text} />
      </Boundary>
    </>
  );
}

function Actions({ session }: { session: Session }) {
  const { busy } = session;
  const decide = (action: Action) => () => void session.decide(action);
  return (
    <div class="actions" role="toolbar" aria-label="Decision">
      <button class="primary" disabled={busy || !session.editor.text?.trim()} onClick={decide(Action.CORRECT)}>
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
      <button disabled={session.stack.length === 0} onClick={() => void session.undo()}>
        Undo <kbd>u</kbd>
      </button>
    </div>
  );
}

function Nothing({ session, place }: { session: Session; place: Place }) {
  const stats = useAnswer(() => session.client.stats({}), [session, session.stack.length]);
  const others = session.left;
  const title = others > 0 ? "Others are at work on what is left" : isFiltered(place) ? "No candidate matches" : "Nothing is left to review";
  return (
    <>
      <h2>{title}</h2>
      {others > 0 && <p>Claimed: {counted(others, "candidate")}. The page looks again by itself.</p>}
      <p>
        {session.stack.length > 0 && `You decided ${session.stack.length} in this session. `}
        {isFiltered(place) ? (
          <a href={hashOf(unfiltered(place))}>Clear the filters</a>
        ) : (
          <a href="#/runs">Import a benchmark run</a>
        )}
      </p>
      {typeof stats !== "string" && (
        <p class="quiet">
          {counted(stats.total, "candidate")} in all, {counted(stats.exportReady, "example")} ready:{" "}
          <code>avocet export</code> brings them to a file.
        </p>
      )}
    </>
  );
}
