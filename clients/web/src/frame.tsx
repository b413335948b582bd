import { useEffect, useState } from "preact/hooks";
import { Typed } from "./parts.js";
import type { Session } from "./session.js";

/** What was done, politely; and what went wrong. */
export function Messages({ session }: { session: Session }) {
  const { notice } = session;
  return (
    <>
      <div role="status" class="messages">
        {notice?.kind === "done" && (
          <p class="notice">
            {notice.text} {notice.canUndo && <button onClick={() => void session.undo()}>Undo</button>}
          </p>
        )}
      </div>
      <div role="alert" class="messages">
        {session.supply.isFull && (
          <p class="notice wrong">
            The disk of the service is full. Nothing was stored, and your text is kept. Reading goes on; whoever runs the
            service has to make room.
          </p>
        )}
        {session.outage.isOn && <p class="notice wrong">The service does not answer; trying again every 2 s. Your text is kept.</p>}
        {notice && notice.kind !== "done" && (
          <p class="notice wrong">
            {notice.text} {notice.link && <a href={notice.link}>Look at it</a>}{" "}
            {notice.copy && <Copy text={notice.copy} />} <button onClick={() => session.dismiss()}>Close</button>
          </p>
        )}
      </div>
    </>
  );
}

/** The reviewer's token, for this tab alone; never in the address. */
export function Token({ keep }: { keep: (token: string) => void }) {
  const [typed, type] = useState("");
  return (
    <div class="notice token">
      <label>
        token <input type="password" autocomplete="off" value={typed} onInput={(event) => type(event.currentTarget.value)} />
      </label>
      <button onClick={() => keep(typed)}>Use it</button>
      <p class="quiet">On your own machine, give the token to the command: AVOCET_TOKEN, or its settings file.</p>
    </div>
  );
}

export function Theme() {
  const [theme, set] = useState(() => localStorage.getItem("avocet-theme") ?? "");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("avocet-theme", theme);
  }, [theme]);
  const next = { "": "dark", dark: "light", light: "" }[theme] ?? "";
  return (
    <button onClick={() => set(next)} aria-label={`Colours: ${theme || "as the system"}`}>
      {theme === "dark" ? "☾" : theme === "light" ? "☀" : "◐"}
    </button>
  );
}

function Copy({ text }: { text: string }) {
  return <button onClick={() => void navigator.clipboard?.writeText(text)}>Copy the id</button>;
}

/** Under which name this browser claims and decides, where no token says it. */
export function You({ name, rename }: { name: string; rename: (name: string) => void }) {
  const change = (typed: string) => {
    if (typed.trim() && typed !== name) {
      localStorage.setItem("avocet-reviewer", typed.trim());
      rename(typed.trim());
    }
  };
  return (
    <label class="you">
      you <Typed value={name} go={change} />
    </label>
  );
}
