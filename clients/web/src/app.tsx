import { Action } from "@avocet/client";
import { reviewClient } from "@avocet/client/review";
import { options } from "preact";
import { useEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { Filters } from "./filters.js";
import { keyOf, KEYS } from "./keys.js";
import { CATEGORIES, hashOf, type Place, placeOf, VIEWS } from "./place.js";
import { Review } from "./review.js";
import { Session } from "./session.js";
import { Decided, Runs, Statistics } from "./views.js";
import { FailureCategory } from "@avocet/client";

const SERVER = new URL(".", location.href).href.replace(/\/$/, "");
/** The page tells of an outage itself, and soon. */
const RETRY_FOR_MS = 800;
const NOTICE_MS = 10_000;
const TITLES = { review: "Review", decided: "Decided", stats: "Statistics", runs: "Runs" } as const;

export function App() {
  const [token, setToken] = useState(() => sessionStorage.getItem("avocet-token") ?? "");
  const [place, setPlace] = useState(() => placeOf(location.hash));
  const [isRaw, setRaw] = useState(false);
  const [areFiltersShown, showFilters] = useState(false);
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const help = useRef<HTMLDialogElement>(null);
  const keepToken = (value: string) => {
    sessionStorage.setItem("avocet-token", value);
    setToken(value);
  };
  const client = useMemo(() => reviewClient(SERVER, { token, retryForMs: RETRY_FOR_MS }), [token]);
  const session = useMemo(() => new Session(client, () => redraw(undefined as never), place), [client]);
  const { view, ...rest } = place;
  const which = JSON.stringify(rest);

  useEffect(() => void session.begin(place), [session, which]);
  useEffect(() => {
    const moved = () => setPlace(placeOf(location.hash));
    const leaving = () => session.keepNow();
    addEventListener("hashchange", moved);
    addEventListener("pagehide", leaving);
    return () => {
      removeEventListener("hashchange", moved);
      removeEventListener("pagehide", leaving);
    };
  }, [session]);
  useEffect(() => {
    if (session.notice?.kind === "done") {
      const timer = setTimeout(() => session.dismiss(), NOTICE_MS);
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [session.notice]);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const key = keyOf(event);
      const act = key && actions(session, view, { setRaw, showFilters, help: () => help.current?.showModal() })[key];
      if (act) {
        event.preventDefault();
        act();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [session, view]);

  return (
    <>
      <header>
        <h1>Corrections</h1>
        <nav aria-label="Views">
          {VIEWS.map((each) => (
            <a key={each} href={hashOf({ ...place, view: each })} aria-current={each === view ? "page" : undefined}>
              {TITLES[each]}
            </a>
          ))}
        </nav>
        <span class="quiet">{session.loaded && `${session.left.toLocaleString()} left`}</span>
        <button onClick={() => showFilters(!areFiltersShown)} aria-expanded={areFiltersShown}>
          Filters <kbd>/</kbd>
        </button>
        <button onClick={() => help.current?.showModal()} aria-label="Keys">
          ?
        </button>
        <Theme />
        {token && <button onClick={() => keepToken("")}>Forget the token</button>}
      </header>
      {areFiltersShown && <Filters client={client} place={place} />}
      <Messages session={session} />
      {session.needsToken && <Token keep={keepToken} />}
      <main>
        {view === "review" && <Review session={session} isRaw={isRaw} place={place} />}
        {view === "decided" && <Decided session={session} />}
        {view === "stats" && <Statistics client={client} place={place} />}
        {view === "runs" && <Runs client={client} imported={() => void session.begin(place)} />}
      </main>
      <dialog ref={help} aria-label="Keys">
        <dl>
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <button onClick={() => help.current?.close()}>Close</button>
      </dialog>
    </>
  );
}

interface Switches {
  setRaw: (change: (was: boolean) => boolean) => void;
  showFilters: (isShown: boolean) => void;
  help: () => void;
}

/** Do something and draw it before the next key comes: what is typed then must reach the editor, and decide nothing. */
function drawnAtOnce(work: () => void): void {
  options.debounceRendering = (draw) => draw();
  try {
    work();
  } finally {
    delete options.debounceRendering;
  }
}

/** What each key does now. */
function actions(session: Session, view: Place["view"], { setRaw, showFilters, help }: Switches) {
  const everywhere: Record<string, () => void> = {
    "?": help,
    u: () => void session.undo(),
    "/": () => showFilters(true),
    j: () => scrollBy({ top: 200 }),
    k: () => scrollBy({ top: -200 }),
  };
  if (view !== "review") {
    return everywhere;
  }
  const categories = [FailureCategory.UNSPECIFIED, ...CATEGORIES.map(([category]) => category)];
  return {
    ...everywhere,
    ...Object.fromEntries(categories.map((category, digit) => [`${digit}`, () => session.choose(category)])),
    c: () => drawnAtOnce(() => session.edit()),
    "Ctrl+Enter": () => void session.decide(Action.CORRECT),
    d: () => void session.decide(Action.DISCARD),
    f: () => void session.decide(Action.FLAG),
    s: () => session.skip(),
    r: () => setRaw((was) => !was),
    Escape: () => session.leave(),
  };
}

function Messages({ session }: { session: Session }) {
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
        {session.isAway && <p class="notice wrong">The service does not answer; trying again every 2 s. Your text is kept.</p>}
        {notice && notice.kind !== "done" && (
          <p class="notice wrong">
            {notice.text} <button onClick={() => session.dismiss()}>Close</button>
          </p>
        )}
      </div>
    </>
  );
}

/** The reviewer's token, for this tab alone; never in the address. */
function Token({ keep }: { keep: (token: string) => void }) {
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

function Theme() {
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
