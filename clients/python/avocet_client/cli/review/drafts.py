"""Corrections that a reviewer has typed, on disk until the service has stored them.

`$XDG_STATE_HOME/avocet/drafts/<address>/` has a file for each candidate and form of a correction, readable by its owner
alone. Its first line is a JSON object that says whose it is; what follows is the text as it was typed. Files that are
not of this form are left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from avocet_client.cli.review.workplace import Begun, abandoned, edited_in, workplace
from avocet_client.files import replace_file

FORMAT = 1
TEXT, MESSAGE = ".md", ".json"
FORMS = (TEXT, MESSAGE)
"""How a correction was typed, by the extension of its file: as text, or as a message with tool calls."""
MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Draft:
    """What was typed for one candidate."""

    id: str
    form: str
    text: str
    at: str
    """When, as RFC 3339 says, in UTC."""


def state_directory() -> Path:
    """Return where this command keeps its state: `~/.local/state/avocet`, unless XDG_STATE_HOME says otherwise."""
    stated = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (stated if stated.is_absolute() else Path.home() / ".local" / "state") / "avocet"


class Drafts:
    """The drafts for the candidates of one service.

    Where the disk takes none, they are kept in memory, and `trouble` says why.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._directory = state_directory() / "drafts" / _name(address)
        self._in_memory: dict[tuple[str, str], Draft] = {}
        self._typed: set[str] = set()
        self.trouble = ""

    def of(self, id: str, form: str) -> Draft | None:
        """Return what was typed last for a candidate and not stored, also in an editor whose review has died."""
        self._adopt(_name(id) + form)
        return self._in_memory.get((id, form)) or self._read(self.path(id, form), form)

    def all_of(self, id: str) -> list[Draft]:
        """Return the drafts for a candidate: none, one, or one of each form."""
        return [draft for form in FORMS if (draft := self.of(id, form)) is not None]

    def keep(self, id: str, form: str, text: str) -> None:
        """Keep what was typed, in place of what was kept before."""
        self._typed.add(id)
        self._write(Draft(id, form, text, _now()))

    def restore(self, drafts: list[Draft]) -> None:
        """Keep drafts again that were dropped: their decision was taken back."""
        for draft in drafts:
            self._write(draft)

    def drop(self, id: str) -> list[Draft]:
        """Delete the drafts for a candidate, since its decision is stored or the reviewer says so, and return them."""
        dropped = self.all_of(id)
        for draft in dropped:
            self._in_memory.pop((id, draft.form), None)
            with contextlib.suppress(OSError):
                self.path(id, draft.form).unlink()
        self._typed.discard(id)
        return dropped

    def ids(self) -> list[str]:
        """Return the candidates that have a draft, the oldest draft first."""
        self._adopt()
        paths = [path for form in FORMS for path in self._directory.glob(f"*{form}")]
        found = [draft for path in paths if (draft := self._read(path, path.suffix)) is not None]
        found += self._in_memory.values()
        return list(dict.fromkeys(draft.id for draft in sorted(found, key=lambda draft: draft.at)))

    def kept(self) -> list[tuple[str, Path]]:
        """Return what was typed here and is not stored: candidates, and the files that keep the texts."""
        return [(draft.id, self._saved(draft)) for id in sorted(self._typed) for draft in self.all_of(id)]

    def path(self, id: str, form: str) -> Path:
        """Return the file of a draft, whether it is there or not."""
        return self._directory / f"{_name(id)}{form}"

    def edit(self, id: str, form: str, start: str, comments: list[str]) -> tuple[str, bool]:
        """Let the reviewer edit `start`; return the text, and whether it was saved.

        What is saved there can be had with `of`, also if this process dies meanwhile. Raises ValueError, with words for
        the reviewer, if it failed.
        """
        begun = Begun(id, start, comments, form)
        with contextlib.ExitStack() as stack:
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                place = stack.enter_context(workplace(self._directory, _name(id) + form, begun))
            except OSError as error:
                self.trouble = f"Drafts cannot be kept in {self._directory}: {error.strerror}"
                parent = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                place = stack.enter_context(workplace(parent, "avocet", begun))
            return edited_in(place, begun)

    def _write(self, draft: Draft) -> None:
        head = {"avocet_draft": FORMAT, "address": self._address, "id": draft.id, "at": draft.at}
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.path(draft.id, draft.form)
            if os.path.lexists(path) and self._read(path, draft.form) is None:
                path.rename(tempfile.mktemp(prefix=f"{path.name}.", suffix=".aside", dir=self._directory))
            replace_file(path, f"{json.dumps(head)}\n{draft.text}")
            self._in_memory.pop((draft.id, draft.form), None)
        except OSError as error:
            self.trouble = f"Drafts cannot be kept in {self._directory}: {error.strerror}"
            self._in_memory[draft.id, draft.form] = draft

    def _saved(self, draft: Draft) -> Path:
        """The file of a draft; one that its own place does not take goes to the directory for temporary files."""
        if (draft.id, draft.form) in self._in_memory:
            descriptor, path = tempfile.mkstemp(prefix="avocet-correction-", suffix=draft.form)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(draft.text)
            return Path(path)
        return self.path(draft.id, draft.form)

    def _adopt(self, name: str = "") -> None:
        """Make drafts of what editors had open when their review died."""
        for place, begun, text in abandoned(self._directory, name):
            if text.strip() and place.name.startswith(_name(begun.id) + begun.extension):
                self._write(Draft(begun.id, begun.extension, text, _now()))
            shutil.rmtree(place, ignore_errors=True)

    def _read(self, path: Path, form: str) -> Draft | None:
        """Return a file's draft; None if there is none, or it is damaged or another's."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError, AttributeError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                head, _, text = file.read(MOST_BYTES).decode("utf-8").partition("\n")
            said = json.loads(head)
            ours = said["avocet_draft"] == FORMAT and said["address"] == self._address
            if ours and path == self.path(said["id"], form) and text.strip() and datetime.fromisoformat(said["at"]):
                return Draft(said["id"], form, text, said["at"])
        return None


def _name(of: str) -> str:
    return hashlib.sha256(of.encode(errors="surrogatepass")).hexdigest()[:32]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
