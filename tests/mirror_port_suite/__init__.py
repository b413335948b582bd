"""What every ledger engine must do for the mirror: a subclass gives `open_ledger`, and each test gets a fresh ledger.

As in the ledger's suite, each work runs twice.

- `following`, `verdicts`: the rules, by subject
- `support`: what the tests share, and the mirror's side of one ledger
"""

from __future__ import annotations

from tests.mirror_port_suite.following import FollowingRules
from tests.mirror_port_suite.verdicts import VerdictRules

__all__ = ["MirrorPortSuite"]


class MirrorPortSuite(FollowingRules, VerdictRules):
    """Every rule of `core.ports.mirror` that a mirror can see."""
