"""Long texts, page by page."""

from __future__ import annotations

import io
import os
import shutil

from rich.console import RenderableType

from avocet_client.cli.review import programs
from avocet_client.cli.review.talk import ENTER, Back, Talk
from avocet_client.cli.screen import Screen

PAGER = "less"


def show_paged(talk: Talk, what: RenderableType) -> None:
    """Show it in $PAGER, else in less; without either, page by page here."""
    page = io.StringIO()
    Screen(file=page, width=talk.screen.width).print(what, crop=False)
    stated = os.environ.get("PAGER") or (PAGER if shutil.which(PAGER) else "")
    if stated:
        try:
            with talk.lent():
                code = programs.run(stated, stdin=page.getvalue().encode(errors="backslashreplace"))
            if code < 126:
                return
            talk.warn(f"{stated} ended with {code}; the variable PAGER names the pager.")
        except ValueError as error:
            talk.warn(f"{error}; the variable PAGER names the pager.")
    _page(talk, page.getvalue().splitlines())


def _page(talk: Talk, lines: list[str]) -> None:
    at = 0
    while True:
        step = max(1, talk.screen.height - 3)
        talk.say("\n".join(lines[at : at + step]))
        if at + step >= len(lines):
            return
        try:
            key = talk.ask(f"{at + step} of {len(lines)} lines.  Space: on  [b]ack  [q]uit the page", f" {ENTER}bq")
        except Back:
            return
        if key == "q":
            return
        at = max(0, at - step) if key == "b" else at + step
