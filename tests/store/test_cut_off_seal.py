"""A stop that is cut off while it seals the ledger leaves a ledger that starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import seal
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.integrity import LedgerDamaged
from tests.ledger_suite import correct, encode, import_candidates

KILLED_WHILE_SEALING = """
import os, sys
from pathlib import Path
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import seal
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode

ledger = SqliteLedger(DataDirectory(Path(sys.argv[1])), encode)
seal._checksum = lambda path: os._exit(9)
ledger.close()
"""


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode)
    import_candidates(ledger, 4)
    correct(ledger, "c0")
    ledger.close()
    assert seal.is_sealed(directory.ledger)
    return directory


def starts(directory: DataDirectory) -> bool:
    ledger = SqliteLedger(directory, encode)
    found = ledger.read(lambda reader: reader.candidate("c0"))
    ledger.close()
    return found is not None


def test_a_kill_while_the_ledger_is_read_for_its_seal(directory: DataDirectory) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_SEALING, str(directory.root)], timeout=60)
    assert done.returncode == 9
    assert not seal.is_sealed(directory.ledger)
    assert starts(directory) and seal.has_sound_seal(directory.ledger)


def test_a_seal_that_cannot_be_written_leaves_none(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> str:
        raise OSError(28, "No space left on device")

    ledger = SqliteLedger(directory, encode)
    with monkeypatch.context() as patched:
        patched.setattr(seal, "_checksum", fails)
        ledger.close()
    assert [path.name for path in directory.private.iterdir() if "seal" in path.name] == []
    assert starts(directory)


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_half_of_a_seal_vouches_for_nothing_and_refuses_nothing(directory: DataDirectory, cut: int) -> None:
    place = directory.ledger.with_name("ledger.db-seal")
    place.write_bytes(place.read_bytes()[:cut])
    assert starts(directory)


def test_a_whole_seal_of_another_ledger_still_refuses_the_start(directory: DataDirectory) -> None:
    place = directory.ledger.with_name("ledger.db-seal")
    place.write_text(place.read_text().replace("adler32 ", "adler32 f"))
    with pytest.raises(LedgerDamaged):
        starts(directory)
