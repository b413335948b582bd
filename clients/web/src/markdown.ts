import DOMPurify from "dompurify";
import { Marked, Tokenizer, type Tokens } from "marked";

/** A longer text is shown as it is: some steps of the parser cannot be interrupted, and their time grows with the text. */
const MOST_CHARACTERS = 500_000;
const MOST_ELEMENTS = 20_000;
/** Deeper lists and quotes end at the browser's stack or its depth of elements, which differ from one to the next. */
const DEEPEST = 100;
/** How long one text may take, and all that are drawn at once. Ordinary texts of 100 kB take a fifth of it. */
const MOST_MS = 500;
const MOST_MS_AT_ONCE = 2_000;
let spentMs = 0;

const SAFE_ADDRESS = /^(https?:|mailto:)/i;

const markdown = new Marked({
  gfm: true,
  async: false,
  renderer: {
    // What a model wrote as HTML is text to be read.
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escape(text),
    // An image would tell its server who reads this, and when.
    image: ({ href, text }: Tokens.Image) => escape(`[image ${text}: ${href}]`),
    link({ href, tokens }: Tokens.Link) {
      const text = this.parser.parseInline(tokens);
      if (!SAFE_ADDRESS.test(href)) {
        return `${text} (${escape(href)})`;
      }
      const shown = text === escape(href) ? "" : ` <small>(${escape(href)})</small>`;
      return `<a href="${escape(href)}" target="_blank" rel="noopener noreferrer">${text}</a>${shown}`;
    },
  },
});

/** Ends what nests too deep or takes too long by an error. Hostile texts of some kB would take the parser minutes. */
class Bounded extends Tokenizer {
  #depth = 0;

  constructor(private readonly endsAt: number) {
    super();
  }

  // The parser tries these two at the beginning of each block, and of each piece of a line.
  override space(source: string) {
    return this.#inTime(() => super.space(source));
  }

  override escape(source: string) {
    return this.#inTime(() => super.escape(source));
  }

  // These call the parser for what stands inside.
  override blockquote(source: string) {
    return this.#deeper(() => super.blockquote(source));
  }

  override list(source: string) {
    return this.#deeper(() => super.list(source));
  }

  override emStrong(...found: Parameters<Tokenizer["emStrong"]>) {
    return this.#deeper(() => super.emStrong(...found));
  }

  override del(...found: Parameters<Tokenizer["del"]>) {
    return this.#deeper(() => super.del(...found));
  }

  override link(source: string) {
    return this.#deeper(() => super.link(source));
  }

  override reflink(...found: Parameters<Tokenizer["reflink"]>) {
    return this.#deeper(() => super.reflink(...found));
  }

  #deeper<T>(work: () => T): T {
    this.#depth += 1;
    try {
      if (this.#depth > DEEPEST) {
        throw new Error("The text nests too deep.");
      }
      return this.#inTime(work);
    } finally {
      this.#depth -= 1;
    }
  }

  #inTime<T>(work: () => T): T {
    if (performance.now() > this.endsAt) {
      throw new Error("The text takes too long.");
    }
    return work();
  }
}

/** Put text into a box as Markdown; as it is if it cannot be rendered. Nothing that stood in the box stays there. */
export function renderInto(box: Element, text: string): void {
  box.textContent = "";
  try {
    box.replaceChildren(rendered(text));
  } catch {
    const raw = document.createElement("pre");
    raw.className = "raw";
    raw.title = "This text cannot be shown as Markdown.";
    raw.textContent = text;
    box.textContent = "";
    box.append(raw);
  }
}

/** Return text as nodes in which nothing runs and nothing is loaded: Markdown without HTML, images, frames and forms. */
function rendered(text: string): DocumentFragment {
  const began = performance.now();
  if (spentMs === 0) {
    setTimeout(() => (spentMs = 0)); // what is drawn at once is drawn before any timer
  }
  try {
    return sanitized(parsed(text, began + Math.min(MOST_MS, MOST_MS_AT_ONCE - spentMs)));
  } finally {
    spentMs += performance.now() - began;
  }
}

function parsed(text: string, endsAt: number): string {
  if (text.length > MOST_CHARACTERS) {
    throw new Error("The text is too long.");
  }
  const found = markdown.parse(text, { tokenizer: new Bounded(endsAt) }) as string;
  if ((found.match(/<[a-z]/g)?.length ?? 0) > MOST_ELEMENTS) {
    throw new Error("The text has too many parts.");
  }
  return found;
}

function sanitized(markup: string): DocumentFragment {
  return DOMPurify.sanitize(markup, {
    RETURN_DOM_FRAGMENT: true,
    USE_PROFILES: { html: true },
    ADD_ATTR: ["target"],
    FORBID_TAGS: ["img", "svg", "math", "iframe", "object", "form", "input", "button", "style", "audio", "video"],
    FORBID_ATTR: ["src", "srcset", "style", "background", "ping"],
    ALLOW_DATA_ATTR: false,
  });
}

function escape(text: string): string {
  const names: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]!);
}
