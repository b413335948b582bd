import DOMPurify from "dompurify";
import { Marked, type Tokens } from "marked";

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

/** Return text as nodes in which nothing runs and nothing is loaded: Markdown without HTML, images, frames and forms. */
export function rendered(text: string): DocumentFragment {
  return DOMPurify.sanitize(markdown.parse(text) as string, {
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
