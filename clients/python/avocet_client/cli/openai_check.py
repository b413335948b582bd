"""Says which rows of an export OpenAI's format refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avocet_client.cli.session import Session, complain
from avocet_client.openai_format import faults
from avocet_client.words import counted


class OpenAiCheck:
    """Checks rows one after another, and names those that are refused on standard error."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rows = 0
        self.refused = 0

    def file(self, path: Path) -> None:
        """Check every row of a file."""
        with path.open(encoding="ascii") as lines:
            for line in lines:
                self.row(json.loads(line))

    def row(self, row: Any) -> None:
        """Check the next row."""
        self._rows += 1
        found = faults(row)
        if not found:
            return
        self.refused += 1
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        self._say(f"row {self._rows}: {found[0]}{more}")

    def end(self) -> None:
        """Say how many rows were refused, if any were."""
        if self.refused:
            self._say(f"OpenAI's format refuses {self.refused:,} of {counted(self._rows, 'row')}")

    def _say(self, words: str) -> None:
        complain(self._session.err, f"avocet: {words}", style="yellow")
