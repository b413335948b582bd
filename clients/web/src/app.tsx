import { reviewClient } from "@avocet/client/review";
import { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { actionsOf } from "./actions.js";
import { Boundary } from "./boundary.js";
import { CandidateView } from "./candidate.js";
import { Filters } from "./filters.js";
import { DecidedView } from "./history.js";
import { keyOf, KEYS } from "./keys.js";
import { Messages, Theme, Token, You } from "./frame.js";
import { hashOf, placeOf } from "./place.js";
import { Review } from "./review.js";
import { Runs } from "./runs.js";
import { Search } from "./search.js";
import { Session } from "./session.js";
import { Snapshots } from "./snapshots.js";
import { Statistics } from "./statistics.js";

const SERVER = new URL(".", location.href).href.replace(/\/$/, "");
/** The page tells of an outage itself, and soon. */
const RETRY_FOR_MS = 800;
const NOTICE_MS = 10_000;
const TITLES = {
  review: "Review",
  decided: "Decided",
  search: "Search",
  stats: "Statistics",
  runs: "Runs",
  snapshots: "Snapshots",
} as const;
let isLeaving = false;
/** What is sent while the page goes has to outlive it. */
const send: typeof fetch = (input, init) => fetch(input, { ...init, keepalive: isLeaving });

export function App() {
  const [token, setToken] = useState(() => sessionStorage.getItem("avocet-token") ?? "");
  const [place, setPlace] = useState(() => placeOf(location.hash));
  const [reviewer, setReviewer] = useState(nameOfBefore);
  const [isRaw, setRaw] = useState(false);
  const [areFiltersShown, showFilters] = useState(false);
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const help = useRef<HTMLDialogElement>(null);
  const keepToken = (value: string) => {
    sessionStorage.setItem("avocet-token", value);
    setToken(value);
  };
  const client = useMemo(() => reviewClient(SERVER, { token, retryForMs: RETRY_FOR_MS, fetch: send }), [token]);
  const session = useMemo(
    () => new Session(client, () => redraw(undefined as never), place, token ? "" : reviewer),
    [client, reviewer],
  );
  const { view, ...rest } = place;
  // What else stands in the address is of other views: it does not begin the queue again.
  const which = JSON.stringify({ ...rest, text: "", status: "", id: "", who: "" });

  // Claims begin when somebody wants to review, not when somebody looks at figures.
  const reviews = useRef(false);
  reviews.current ||= view === "review" || view === "candidate";
  useEffect(() => void (reviews.current && session.begin(place)), [session, which, reviews.current]);
  useEffect(() => () => session.end(), [session]);
  useEffect(() => {
    const moved = () => setPlace(placeOf(location.hash));
    const leaving = () => {
      isLeaving = true;
      session.end();
    };
    const shown = (event: PageTransitionEvent) => {
      isLeaving = false;
      void (event.persisted && session.hasBegun && session.begin(placeOf(location.hash)));
    };
    addEventListener("hashchange", moved);
    addEventListener("pagehide", leaving);
    addEventListener("pageshow", shown);
    return () => {
      removeEventListener("hashchange", moved);
      removeEventListener("pagehide", leaving);
      removeEventListener("pageshow", shown);
    };
  }, [session]);
  useEffect(() => {
    if (session.notice?.kind === "done") {
      const timer = setTimeout(() => session.dismiss(), NOTICE_MS);
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [session.notice]);
  // Before the browser shows a view: a key acts on what is seen, however soon it is pressed.
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const key = keyOf(event);
      const act = key && actionsOf(session, view, { setRaw, showFilters, help: () => help.current?.showModal() })[key];
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
          {Object.entries(TITLES).map(([each, title]) => (
            <a
              key={each}
              href={hashOf({ ...place, view: each as keyof typeof TITLES, id: "" })}
              aria-current={each === view ? "page" : undefined}
            >
              {title}
            </a>
          ))}
        </nav>
        <span class="quiet">{session.hasBegun && `${session.left.toLocaleString()} left`}</span>
        {session.stack.length > 0 && view !== "decided" && !(view === "review" && session.candidate) && (
          <button onClick={() => void session.undo()}>
            Undo <kbd>u</kbd>
          </button>
        )}
        <button onClick={() => showFilters(!areFiltersShown)} aria-expanded={areFiltersShown}>
          Filters <kbd>/</kbd>
        </button>
        <button onClick={() => help.current?.showModal()} aria-label="Keys">
          ?
        </button>
        <Theme />
        {token ? (
          <button onClick={() => keepToken("")}>Forget the token</button>
        ) : (
          session.reviewer.stated && <You name={reviewer} rename={setReviewer} />
        )}
      </header>
      {areFiltersShown && <Filters client={client} place={place} />}
      <Messages session={session} />
      {session.needsToken && <Token keep={keepToken} />}
      <main>
        <Boundary key={`${view} ${place.id}`} of={view === "candidate" ? "the candidate" : "this view"} id={place.id}>
          {view === "review" && <Review session={session} isRaw={isRaw} place={place} />}
          {view === "decided" && <DecidedView session={session} place={place} />}
          {view === "search" && <Search client={client} place={place} />}
          {view === "stats" && <Statistics client={client} place={place} />}
          {view === "runs" && <Runs client={client} imported={() => void (session.hasBegun && session.begin(place))} />}
          {view === "snapshots" && <Snapshots client={client} />}
          {view === "candidate" && <CandidateView session={session} place={place} isRaw={isRaw} />}
        </Boundary>
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

/** What the reviewer was called before, or what the page was opened with; else a name that nobody else has. */
function nameOfBefore(): string {
  const given = document.querySelector<HTMLMetaElement>("meta[name=reviewer]")?.content;
  const name = given || localStorage.getItem("avocet-reviewer") || `browser-${crypto.randomUUID().slice(0, 6)}`;
  localStorage.setItem("avocet-reviewer", name);
  return name;
}
