import type { CallOptions } from "@connectrpc/connect";
import type { Calls } from "./calls.js";
import type { Fields } from "./fields.js";
import type {
  Candidate,
  Change,
  ListCandidatesRequestSchema,
  ListHistoryRequestSchema,
  QueueRequestSchema,
  Run,
  Snapshot,
} from "./gen/avocet/corrections/v1/corrections_pb.js";

export type CandidatesRequest = Fields<typeof QueueRequestSchema, "page" | "pageToken">;
export type SearchRequest = Fields<typeof ListCandidatesRequestSchema, "pageToken">;
export type HistoryRequest = Fields<typeof ListHistoryRequestSchema, "pageToken">;

/** Iterators over what the service answers page by page. Leaving one early reads no further page. */
export interface Pages {
  /** The candidates in review that match; each that stays in review comes once. `perPage` are fetched at a time. */
  candidates(request?: CandidatesRequest, options?: CallOptions): AsyncGenerator<Candidate, void, undefined>;
  /** The candidates of any status that match, also by their `text`. */
  search(request?: SearchRequest, options?: CallOptions): AsyncGenerator<Candidate, void, undefined>;
  /** What was changed, by whom and when; newest first unless the request says otherwise. */
  history(request?: HistoryRequest, options?: CallOptions): AsyncGenerator<Change, void, undefined>;
  /** The benchmark runs, newest name first. */
  runs(options?: CallOptions): AsyncGenerator<Run, void, undefined>;
  /** The snapshots, newest first. */
  snapshots(options?: CallOptions): AsyncGenerator<Snapshot, void, undefined>;
}

export function pagesOver(calls: Calls): Pages {
  return {
    candidates: (request = {}, options) =>
      over((pageToken) => calls.queue({ ...request, pageToken }, options), ({ items }) => items),
    search: (request = {}, options) =>
      over((pageToken) => calls.listCandidates({ ...request, pageToken }, options), ({ items }) => items),
    history: (request = {}, options) =>
      over((pageToken) => calls.listHistory({ ...request, pageToken }, options), ({ changes }) => changes),
    runs: (options) =>
      over((pageToken) => calls.listRuns({ pageSize: 500, pageToken }, options), ({ runs }) => runs),
    snapshots: (options) =>
      over((pageToken) => calls.listSnapshots({ pageSize: 500, pageToken }, options), ({ snapshots }) => snapshots),
  };
}

/** A page may be empty and yet have a token: only a missing token ends the list. */
async function* over<P extends { readonly nextPageToken: string }, T>(
  ask: (pageToken: string) => Promise<P>,
  itemsOf: (page: P) => readonly T[],
): AsyncGenerator<T, void, undefined> {
  let pageToken = "";
  do {
    const page = await ask(pageToken);
    yield* itemsOf(page);
    pageToken = page.nextPageToken;
  } while (pageToken);
}
