"""A text in the reviewer's own editor."""

from __future__ import annotations

import signal

import click


def edit(text: str, extension: str = ".md") -> str | None:
    """Return what $EDITOR makes of the text, or None if it was not saved. Raises ValueError if the editor fails.

    An end of line that the editor adds to the last line is removed.
    """
    # Meanwhile Ctrl-C is for the editor. It needs a handler: the editor would inherit that the signal is ignored.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        edited = click.edit(text, extension=extension)
    except click.ClickException as error:
        raise ValueError(f"{error.message}; the variable EDITOR names the editor") from None
    finally:
        signal.signal(signal.SIGINT, before)
    return edited.removesuffix("\n") if edited and not text.endswith("\n") else edited
