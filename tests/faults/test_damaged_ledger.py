"""A ledger that changed while nobody served is refused, says what is wrong, and names the way out."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import Load, candidates
from tests.faults.support import rounds
from tests.support import Server, write_records

EXIT_CANNOT_START = 1


@pytest.fixture
def worked(victim: Server, acks: Acks) -> Server:
    """A server that was stopped after some work."""
    write_records(victim.candidates, made := candidates(100))
    acks.add(made)
    with Load(acks, victim.start().address) as load:
        load.wait_for(100)
    assert victim.stop() == 0
    return victim


def ledger_of(server: Server) -> Path:
    return server.data / ".avocet" / "ledger.db"


def refusal(server: Server) -> str:
    """What a start that is refused says, in one line."""
    log = server.directory / "refused.log"
    log.unlink(missing_ok=True)
    process = server.spawn(log)
    try:
        assert process.wait(timeout=30) == EXIT_CANNOT_START, log.read_text()
    finally:
        process.kill()
    (line,) = log.read_text().splitlines()
    return line


def flip(path: Path, at: int) -> None:
    """One other byte at this offset."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x20]))


def test_one_changed_byte_anywhere_in_the_ledger_is_refused_with_the_way_out(worked: Server, acks: Acks) -> None:
    dice = random.Random(acks.seed)
    ledger = ledger_of(worked)
    size = ledger.stat().st_size
    for at in [0, 20, size - 1, *(dice.randrange(size) for _ in range(rounds(short=3, whole=100)))]:
        flip(ledger, at)
        damaged = ledger.read_bytes()
        line = refusal(worked)
        assert "the ledger is damaged" in line and f"avocet-grpc rebuild --data-dir {worked.data}" in line, at
        assert ledger.read_bytes() == damaged, "a damaged ledger was written to"
        flip(ledger, at)
    check(acks, worked.start(), asked=1_000)


def test_a_ledger_that_is_cut_short_or_missing_beside_its_seal_is_refused(worked: Server, acks: Acks) -> None:
    ledger = ledger_of(worked)
    sound = ledger.read_bytes()
    for content in (sound[: len(sound) // 2], b"", sound + b"more", None):
        ledger.unlink(missing_ok=True)
        if content is not None:
            ledger.write_bytes(content)
        assert "the ledger is damaged" in refusal(worked)
    ledger.write_bytes(sound)
    check(acks, worked.start(), asked=1_000)


def test_after_a_crash_a_ledger_whose_pages_are_broken_is_refused(worked: Server, acks: Acks) -> None:
    worked.start()
    worked.kill()
    ledger = ledger_of(worked)
    with ledger.open("r+b") as file:
        for page in range(1, ledger.stat().st_size // 4096, 2):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    assert "the ledger is damaged" in refusal(worked)


def test_without_its_private_directory_the_service_begins_anew_from_the_files_and_revisions_grow(
    worked: Server, acks: Acks
) -> None:
    shutil.rmtree(worked.data / ".avocet")
    acks.forget_the_past()
    check(acks, worked.start(), asked=1_000)
    with Load(acks, worked.address) as load:
        load.wait_for(50)
    check(acks, worked, asked=1_000)
