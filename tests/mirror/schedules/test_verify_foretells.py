"""What `verify` says of a data directory is what the next start does with it, whatever others did to the files."""

from __future__ import annotations

from typing import Any

import pytest

from avocet_grpc.core.model import File
from avocet_grpc.maintenance.comparison import Comparison, State, What, copied_index
from avocet_grpc.mirror.fs.exchange import displaced_by
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.queries import Queries
from tests.mirror.schedules.oracle import Violation
from tests.mirror.schedules.run import run
from tests.mirror.schedules.test_schedules import quiet
from tests.mirror.schedules.world import World

__all__ = ["quiet"]

KEPT = {What.OVERRULED, What.PUT_BACK, What.APPEND, What.CHANGE, What.DOUBTFUL}
"""What leaves the record as the ledger has it."""


def foretell(world: World) -> None:
    """Have each start of the world checked against what verify says before it."""
    start = world.start

    def checked(clean: bool = False) -> None:
        countdown, world.countdown = world.countdown, 10**9
        foretold = {file: told(world, file) for file in File}
        before = {file: contents(world, file) for file in File}
        start(clean)
        for file, found in foretold.items():
            if found is not None:
                check(file, found, before[file], contents(world, file))
        world.countdown = countdown

    world.start = checked  # type: ignore[method-assign]


def told(world: World, file: File) -> dict[What, set[str]] | None:
    """What verify says of a file; None if it says that a displaced file is to be read first, or has no ledger."""
    state = State.CRASHED if world.disk.exists(world.directory.running) else State.STOPPED
    path = world.path(file)
    if displaced_by(world.disk, path) or not (world.records(File.CANDIDATES) or world.records(File.APPROVED)):
        return None
    busy, world.busy = world.busy, True
    try:
        with world.ledger.mirror().view() as reader, copied_index(world.directory.index) as index:
            assert isinstance(reader, SqlMirrorReader)
            newest_change = Queries(reader._session).newest_change
            ask = (reader, newest_change, index, file, path, state, lambda *_: None, world.disk, world.clock)
            comparison = Comparison(*ask)
            list(comparison.run())
    finally:
        world.busy = busy
    return {what: set(ids) for what, ids in comparison.found.items()}


def contents(world: World, file: File) -> dict[str, Any]:
    return {id: one.digest for id, one in world.records(file).items()}


def check(file: File, found: dict[What, set[str]], before: dict[str, Any], after: dict[str, Any]) -> None:
    new = after.keys() - before.keys()
    deleted = before.keys() - after.keys()
    changed = {id for id in before.keys() & after.keys() if before[id] != after[id]}
    edited = found.get(What.EDITED, set()) | found.get(What.LATER, set())
    kept = set().union(*(found.get(what, set()) for what in KEPT))
    wrong = {
        "new, not foretold": new - found.get(What.NEW, set()),
        "foretold as new": found.get(What.NEW, set()) - new,
        "deleted, not foretold": deleted - found.get(What.DELETED, set()),
        "foretold as deleted": found.get(What.DELETED, set()) - deleted,
        "changed, not foretold": changed - edited,
        "foretold as edited": edited - changed,
        "foretold as kept": kept & (new | deleted | changed),
    }
    if any(wrong.values()):
        raise Violation(
            f"verify on {file.name}: " + "; ".join(f"{how}: {sorted(ids)}" for how, ids in wrong.items() if ids)
        )


COUNT, PARTS = 120, 6


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_what_verify_says_of_the_files_is_what_the_next_start_does(part: int) -> None:
    broken = {seed: what for seed in range(part, COUNT, PARTS) if (what := run(seed, foretell)[0])}
    assert broken == {}
