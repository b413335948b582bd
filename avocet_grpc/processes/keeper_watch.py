"""A worker's look at who keeps the files of a ledger that servers share: health and the log say it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.edge.health import Health

LOOK_EVERY_S = 1.0

log = structlog.get_logger("avocet_grpc")


class KeeperWatch:
    """Tells `health` whether a server keeps the files. `says`: this worker logs it too, each change once."""

    def __init__(self, state: Callable[[], KeeperState | None], health: Health, *, says: bool) -> None:
        self._state, self._health, self._says = state, health, says
        self._seen = ""

    async def look(self) -> None:
        """Look once, and wait for a second. Raises nothing if the database cannot be asked."""
        try:
            state = await asyncio.to_thread(self._state)
        except CorrectionsError:
            state = None  # Health says already that the database cannot be reached.
        if state is not None:
            self._health.set_files(state.is_kept)
            self._say(state)
        await asyncio.sleep(LOOK_EVERY_S)

    def _say(self, state: KeeperState) -> None:
        seen = state.place if state.is_kept else "nobody"
        if seen == self._seen:
            return
        self._seen = seen
        if not self._says or not state.files_id:
            return
        if state.is_kept:
            log.info("the shared files are kept", keeper=state.place)
        else:
            log.warning("nobody keeps the shared files; calls go on", last_keeper=state.place)
