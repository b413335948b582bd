"""What every ledger engine must do for a team of reviewers: claims, batches, history, snapshots, pruning.

A subclass gives `open_ledger`, and each test gets a fresh ledger and a clock that it sets. Each work runs twice, and
only the second run counts.

- `claims`, `batches`, `retention`: the rules, by subject
- `support`: what the tests share, the clock, and the fixture of the ledger
"""

from __future__ import annotations

from tests.team_suite.batches import BatchRules
from tests.team_suite.claims import ClaimRules
from tests.team_suite.retention import RetentionRules
from tests.team_suite.support import claim, fill

__all__ = ["TeamSuite", "claim", "fill"]


class TeamSuite(ClaimRules, BatchRules, RetentionRules):
    """Every rule of `core.ports.team` that a caller can see."""
