/** What the keys do, for the handler and for the list that `?` shows. */
export const KEYS: readonly (readonly [string, string])[] = [
  ["c, Enter", "edit the correction"],
  ["t", "correct with tool calls, or with plain text"],
  ["Ctrl+Enter", "approve the correction (⌘ Enter on a Mac)"],
  ["d", "discard"],
  ["f", "flag as a failure of the model"],
  ["s", "skip"],
  ["u", "undo the last decision"],
  ["1 … 6, 0", "failure category, none"],
  ["j, k", "scroll down, up"],
  ["r", "raw text or Markdown"],
  ["/", "filters"],
  ["?", "this list"],
  ["Esc", "leave the editor; the text is kept"],
];

/** Return the name of a key that may act: none while somebody types, in a dialog, with a modifier, or on repeat. */
export function keyOf(event: KeyboardEvent): string | null {
  const target = event.target instanceof HTMLElement ? event.target : null;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
    return target?.closest("dialog, select, input:not([type=radio])") ? null : "Ctrl+Enter";
  }
  if (event.key === "Escape") {
    return target?.closest("dialog") ? null : "Escape";
  }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) {
    return null;
  }
  if (target?.closest("textarea, select, input:not([type=radio]), dialog")) {
    return null;
  }
  if (event.key === "Enter") {
    return target?.closest("a, button, summary, input") ? null : "c";
  }
  return event.key;
}
