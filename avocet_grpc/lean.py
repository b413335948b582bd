"""What the processes of the service do without, so that each is as small as its work."""

from __future__ import annotations

import sys
from typing import Any


def leave_out_rich() -> None:
    """Keep `rich` from being loaded from now on. structlog would load it for stacks on a terminal: 9 MB a process."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault("rich", None)
