"""What reaches the terminal: nothing that a model or another program wrote may act on it.

`visible` is the one place for that rule. The commands make their texts with `text`, and print them on a `Screen`. What
people copy, such as an id, is a `Line`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

Canvas = Console
"""What rich draws on, for what only measures it: texts go to it through this module."""

_ACTING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but for the tab and the end of a line, DEL, C1
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff\ufff9-\ufffb"  # not seen at all
    "\u2028\u2029"  # ends of a line and of a paragraph, for some terminals
    "\u202a-\u202e\u2066-\u206f"  # direction of writing
    "\ud800-\udfff"  # surrogates, which no encoding has
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
    "]"
)


def visible(text: str) -> str:
    r"""Return the text with each character that acts, or hides text, written as its escape: `\x1b`, `\u202e`.

    These are Unicode's control and format characters. Kept as they are: the end of a line (`\r\n` is one), the tab, the
    joiners that words and emoji need, and the format characters of Arabic numbers, which are seen.
    """
    return _ACTING.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return the text visible, and in one line: ends of lines and tabs are escapes too. For ids and table cells."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def text(content: str, style: str = "", **how: Any) -> Text:
    """Return a text for the screen. rich itself drops some control characters; here they are seen."""
    return Text(visible(content), style, **how)


class Screen(Console):
    """A console that prints texts as they are: no markup, no emoji names, and every control character visible."""

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> None:
        super().__init__(stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, content: str, **how: Any) -> Text:  # type: ignore[override]
        """Return a plain string as a text of the screen."""
        return text(content, how.get("style", ""))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with every character visible, also what was not made with `text`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def on_broken_pipe(self) -> None:
        """Let the command say how it ended; rich itself would end it as one that was refused."""
        raise BrokenPipeError


class Line:
    """One line that is never cut nor broken, however narrow the screen: the terminal wraps it, and it copies whole."""

    def __init__(self, content: str, style: str = "") -> None:
        self._content = one_line(content)
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        """Yield the line as it is."""
        yield Segment(self._content, console.get_style(self._style))
        yield Segment.line()


def prepare_streams() -> None:
    """Let no character fail on its way out, whatever the encoding, and replace streams that are closed.

    Some terminals state a size of 0 until they know their own. It is ignored: nothing would be printed.
    """
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name, "").strip("0") == "":
            os.environ.pop(name, None)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # it lives as long as the process
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
