import type { ChatMessage } from "@avocet/client";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { difference } from "./differences.js";
import { rendered } from "./markdown.js";

/** Text of a model or a user: as Markdown in which nothing runs, or raw with its trailing blanks. */
export function Text({ text, isRaw }: { text: string; isRaw: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!isRaw) {
      box.current?.replaceChildren(rendered(text));
    }
  }, [text, isRaw]);
  return isRaw ? (
    <pre class="text raw" tabIndex={0}>
      {text.replace(/ (?=\n|$)/g, "·")}
    </pre>
  ) : (
    <div class="text" ref={box} tabIndex={0} />
  );
}

export function Message({ message, isRaw }: { message: ChatMessage; isRaw: boolean }) {
  const text = message.content ?? message.contentJson;
  const body = (
    <>
      <Text text={text} isRaw={isRaw || message.content === undefined} />
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
    return <p class="quiet">The texts are too different to be compared.</p>;
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

function useSettled(value: string, pauseMs: number): string {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), pauseMs);
    return () => clearTimeout(timer);
  }, [value, pauseMs]);
  return settled;
}
