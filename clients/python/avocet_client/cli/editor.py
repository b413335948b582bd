"""A text in the reviewer's own editor."""

from __future__ import annotations

import signal

import click


def edit(text: str) -> str | None:
    """What $EDITOR makes of the text, or None where it was not saved. Raises ValueError where the editor fails.

    An end of line that the editor adds to the last line is taken off again.
    """
    # Ctrl-C is the editor's own meanwhile. A handler, since the editor would inherit that a signal is ignored.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        edited = click.edit(text, extension=".md")
    except click.ClickException as error:
        raise ValueError(f"{error.message}; the variable EDITOR names the editor") from None
    finally:
        signal.signal(signal.SIGINT, before)
    return edited.removesuffix("\n") if edited and not text.endswith("\n") else edited
