import type { StatsResponse } from "@avocet/client";
import type { ReviewClient } from "@avocet/client/review";
import { useEffect, useState } from "preact/hooks";
import { Typed } from "./parts.js";
import { CATEGORIES, hashOf, ORDERS, type Place } from "./place.js";

/** Order and filters; they stand in the address. */
export function Filters({ client, place }: { client: ReviewClient; place: Place }) {
  const [stats, set] = useState<StatsResponse | null>(null);
  useEffect(() => {
    client.stats({}).then(set, () => undefined); // without them the fields are empty, and the queue says what is wrong
  }, [client]);
  const go = (name: keyof Place, value: string) => {
    location.hash = hashOf({ ...place, [name]: value });
  };
  const choice = (name: keyof Place, label: string, words: readonly string[]) => (
    <label>
      {label}
      <select value={place[name]} onChange={(event) => go(name, event.currentTarget.value)}>
        {name !== "order" && <option value="">any</option>}
        {[...new Set([...(place[name] ? [place[name]] : []), ...words])].map((word) => (
          <option key={word} value={word}>
            {word}
          </option>
        ))}
      </select>
    </label>
  );
  const bound = (name: "min" | "max", label: string) => (
    <label>
      {label}
      <Typed type="number" step="any" value={place[name]} go={(value) => go(name, value)} />
    </label>
  );
  return (
    <div class="filters" role="search" aria-label="Filters">
      {choice("order", "order", Object.keys(ORDERS))}
      {choice("task", "task type", Object.keys(stats?.byTaskType ?? {}))}
      {choice("model", "model", Object.keys(stats?.byModel ?? {}))}
      {choice("source", "source", Object.keys(stats?.bySource ?? {}))}
      {choice("category", "category", CATEGORIES.map(([, word]) => word))}
      <label>
        run
        <Typed class="wider" value={place.run} go={(value) => go("run", value)} />
      </label>
      {bound("min", "score from")}
      {bound("max", "to")}
    </div>
  );
}
