"""A build that is broken on purpose is broken here too."""

from __future__ import annotations

from tests.faults.sabotage import break_as_asked

break_as_asked()
