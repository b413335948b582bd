import type { Candidate, ChatMessage } from "@avocet/client";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { difference } from "./differences.js";
import { renderInto } from "./markdown.js";

const LONG = 20_000;

/** Text of a model or a user: as Markdown in which nothing runs, or raw with its trailing blanks. */
export function Text({ text, isRaw }: { text: string; isRaw: boolean }) {
  return isRaw ? (
    <pre class="text raw" tabIndex={0}>
      {withTrailingBlanks(text)}
    </pre>
  ) : (
    <Markdown text={text} />
  );
}

/** Preact does not know what stands in the box, so the box is filled before anything is painted. */
function Markdown({ text }: { text: string }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => renderInto(box.current!, text), [text]);
  return <div class="text" ref={box} tabIndex={0} />;
}

/** Each line by itself: an expression that looks for blanks before the end of a line takes minutes for many of them. */
function withTrailingBlanks(text: string): string {
  return text
    .split("\n")
    .map((line) => {
      let end = line.length;
      while (line[end - 1] === " " || line[end - 1] === "\t") {
        end -= 1;
      }
      return line.slice(0, end) + line.slice(end).replaceAll(" ", "·").replaceAll("\t", "→");
    })
    .join("\n");
}

/** What the model was asked and what it answered. */
export function Conversation({ candidate, isRaw }: { candidate: Candidate; isRaw: boolean }) {
  const { promptMessages, promptJson, modelResponse, modelResponseJson } = candidate;
  return (
    <section class="conversation" aria-label="Prompt and response">
      {promptMessages.map((message, place) => (
        <Message key={place} message={message} isRaw={isRaw} />
      ))}
      {promptJson && <Text text={promptJson} isRaw />}
      {candidate.toolsJson && (
        <details class="message">
          <summary>tools</summary>
          <Text text={candidate.toolsJson} isRaw />
        </details>
      )}
      <section class="message">
        <h3>response</h3>
        <Text text={modelResponse || modelResponseJson} isRaw={isRaw || !modelResponse} />
        {modelResponse && modelResponseJson && <Text text={modelResponseJson} isRaw />}
      </section>
    </section>
  );
}

/** What is known about a candidate, in short. */
export function Chips({ candidate }: { candidate: Candidate }) {
  const { modelName, taskType, benchmarkRunId, qualityScore, failureReason, samePrompt, id } = candidate;
  return (
    <ul class="chips" aria-label="About it">
      {modelName && <li>{modelName}</li>}
      {taskType && <li>{taskType}</li>}
      {benchmarkRunId && <li>{benchmarkRunId}</li>}
      {qualityScore !== undefined && <li>score {qualityScore.toFixed(2)}</li>}
      {failureReason && <li>{failureReason}</li>}
      {samePrompt > 0 && <li>{samePrompt === 100 ? "100 or more" : samePrompt} with the same prompt</li>}
      <li>
        <button class="chip" onClick={() => void navigator.clipboard?.writeText(id)} title="Copy the id">
          {id}
        </button>
      </li>
    </ul>
  );
}

export function Message({ message, isRaw }: { message: ChatMessage; isRaw: boolean }) {
  // A message of tool calls has no content; in JSON that is null.
  const text = message.content ?? (message.contentJson === "null" ? "" : message.contentJson);
  const body = (
    <>
      {(text || !message.extraJson) && <Text text={text} isRaw={isRaw || message.content === undefined} />}
      {message.extraJson && <Text text={message.extraJson} isRaw />}
    </>
  );
  return message.role === "system" ? (
    <details class="message">
      <summary>system prompt</summary>
      {body}
    </details>
  ) : (
    <section class="message">
      <h3>{message.role || "message"}</h3>
      {body}
    </section>
  );
}

/** What a correction changes. It is worked out after a pause in typing. */
export function Difference({ before, after }: { before: string; after: string }) {
  const settled = useSettled(after, 150);
  const parts = useMemo(() => difference(before, settled), [before, settled]);
  if (!parts) {
    return <p class="quiet">The texts are too long or too different to be compared.</p>;
  }
  if (parts.every(({ kind }) => kind === "same")) {
    return <p class="quiet">No change yet.</p>;
  }
  return (
    <pre class="text difference" tabIndex={0}>
      {parts.map(({ text, kind }, place) =>
        kind === "same" ? text : kind === "added" ? <ins key={place}>{text}</ins> : <del key={place}>{text}</del>,
      )}
    </pre>
  );
}

/** How a correction will look. A long text waits for a longer pause in typing, since it takes longer to draw. */
export function Preview({ text }: { text: string }) {
  const settled = useSettled(text, text.length > LONG ? 600 : 150);
  return (
    <section class="preview" aria-label="Preview">
      <h3>preview</h3>
      <Text text={settled} isRaw={false} />
    </section>
  );
}

/** Where something will be. It appears after 200 ms: what comes sooner does not flicker. */
export function Skeleton({ of }: { of: string }) {
  return (
    <div class="skeleton" aria-live="polite">
      <span class="unseen">Reading {of}</span>
      <div />
      <div />
      <div />
    </div>
  );
}

/** What stands in the place of an answer that is not there: a skeleton, or what went wrong. */
export function Unread({ said, of, isReading = said === "" }: { said: string; of: string; isReading?: boolean }) {
  return said ? <p class="quiet">{said}</p> : isReading ? <Skeleton of={of} /> : null;
}

function useSettled(value: string, pauseMs: number): string {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), pauseMs);
    return () => clearTimeout(timer);
  }, [value, pauseMs]);
  return settled;
}

interface TypedProps {
  value: string;
  go: (value: string) => void;
  class?: string;
  type?: string;
  step?: string;
}

/** A field whose text counts once it is left: what is typed until then outlives each drawing of the page. */
export function Typed({ value, go, ...more }: TypedProps) {
  const [text, type] = useState(value);
  useEffect(() => type(value), [value]);
  const left = (typed: string) => {
    type(value); // what does not count goes; what counts comes back as the value
    go(typed);
  };
  return (
    <input
      {...more}
      value={text}
      onInput={(event) => type(event.currentTarget.value)}
      onChange={(event) => left(event.currentTarget.value)}
    />
  );
}
