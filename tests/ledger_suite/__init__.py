"""What every ledger engine must do: a subclass gives `open_ledger`, and each test gets a fresh ledger.

Each work runs twice, and only the second run counts: an engine may run works again.

- `changes`, `reads`, `exports`, `room`: the rules, by subject
- `support`: what the tests share, and the fixture of the ledger
"""

from __future__ import annotations

from tests.ledger_suite.changes import ChangeRules
from tests.ledger_suite.exports import ExportRules
from tests.ledger_suite.reads import ReadRules
from tests.ledger_suite.room import RoomRules
from tests.ledger_suite.support import (
    candidate_line,
    correct,
    encode,
    exported,
    import_candidates,
    newest,
    run_each_work_twice,
    undo,
)

__all__ = [
    "LedgerSuite",
    "candidate_line",
    "correct",
    "encode",
    "exported",
    "import_candidates",
    "newest",
    "run_each_work_twice",
    "undo",
]


class LedgerSuite(ChangeRules, ReadRules, ExportRules, RoomRules):
    """Every rule of `core.ports.ledger` that a caller can see."""
