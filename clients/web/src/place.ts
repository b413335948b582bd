import { CandidateStatus, FailureCategory, Order } from "@avocet/client";

export const VIEWS = ["review", "decided", "search", "stats", "runs", "snapshots", "candidate"] as const;
export type View = (typeof VIEWS)[number];

export const ORDERS: Readonly<Record<string, Order>> = {
  file: Order.FILE,
  timestamp: Order.TIMESTAMP,
  "timestamp-desc": Order.TIMESTAMP_DESC,
  quality: Order.QUALITY,
  "quality-desc": Order.QUALITY_DESC,
};

export const CATEGORIES: readonly (readonly [FailureCategory, string])[] = [
  [FailureCategory.SCORING_ARTIFACT, "scoring artifact"],
  [FailureCategory.STYLE_VIOLATION, "style violation"],
  [FailureCategory.PARTIAL_ANSWER, "partial answer"],
  [FailureCategory.WRONG_ANSWER, "wrong answer"],
  [FailureCategory.FORMAT_ERROR, "format error"],
  [FailureCategory.HALLUCINATION, "hallucination"],
];

export const STATUSES: readonly (readonly [CandidateStatus, string])[] = [
  [CandidateStatus.NEEDS_REVIEW, "needs review"],
  [CandidateStatus.APPROVED, "approved"],
  [CandidateStatus.DISCARDED, "discarded"],
  [CandidateStatus.MODEL_REJECTED, "model rejected"],
];

/** What the address says: the view, and which candidates in which order. Reload and Back keep it. */
export interface Place {
  readonly view: View;
  readonly order: string;
  readonly task: string;
  readonly model: string;
  readonly source: string;
  readonly run: string;
  readonly category: string;
  readonly min: string;
  readonly max: string;
  /** What is searched for, and with which status. */
  readonly text: string;
  readonly status: string;
  /** The one candidate that is shown. */
  readonly id: string;
  /** Whose decisions are listed: of one person, or of everybody. */
  readonly who: string;
}

const FILTERS = ["task", "model", "source", "run", "category", "min", "max"] as const;
const NOWHERE: Place = {
  view: "review",
  order: "file",
  ...{ task: "", model: "", source: "", run: "", category: "", min: "", max: "" },
  ...{ text: "", status: "", id: "", who: "" },
};

export function placeOf(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const stated = Object.fromEntries(new URLSearchParams(query));
  const view = VIEWS.find((each) => each === path) ?? "review";
  const order = stated["order"] !== undefined && stated["order"] in ORDERS ? stated["order"] : "file";
  return { ...NOWHERE, ...stated, view, order };
}

export function hashOf(place: Place): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(place)) {
    if (name !== "view" && value && value !== NOWHERE[name as keyof Place]) {
      query.set(name, value as string);
    }
  }
  const text = query.toString();
  return `#/${place.view === "review" ? "" : place.view}${text && `?${text}`}`;
}

/** The address of one candidate. */
export function candidateHash(id: string): string {
  return hashOf({ ...NOWHERE, view: "candidate", id });
}

export function isFiltered(place: Place): boolean {
  return FILTERS.some((name) => place[name]);
}

/** The same place without what restricts it. */
export function unfiltered(place: Place): Place {
  return { ...NOWHERE, view: place.view, order: place.order };
}

/** The request's filter and order. */
export function asked(place: Place) {
  const list = (value: string) => (value ? [value] : []);
  return {
    order: ORDERS[place.order] ?? Order.FILE,
    filter: {
      taskTypes: list(place.task),
      modelNames: list(place.model),
      sources: list(place.source),
      benchmarkRunIds: list(place.run),
      failureCategories: CATEGORIES.flatMap(([category, word]) => (word === place.category ? [category] : [])),
      ...(isNumber(place.min) && { minQualityScore: Number(place.min) }),
      ...(isNumber(place.max) && { maxQualityScore: Number(place.max) }),
    },
  };
}

function isNumber(text: string): boolean {
  return text !== "" && Number.isFinite(Number(text));
}
