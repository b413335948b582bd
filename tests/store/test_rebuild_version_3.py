"""A rebuild from a ledger of version 3: what its files have, and what they lacked and it still has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from avocet_grpc.core.model import CandidateFilter, File
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance import rebuild
from avocet_grpc.maintenance.rebuild import Rebuild
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.store.test_upgrade import FACTS, exported, make_old
from tests.support import lines

IN_FILES = "SELECT b.raw FROM lines l JOIN bodies b USING (key) WHERE l.file = ? AND l.sync = 0 ORDER BY l.position"
TORN = b"{late and torn"


def make_old_with_files(root: Path) -> DataDirectory:
    """The old ledger beside its files, which lack all that waited for them."""
    directory = make_old(root)
    connection = sqlite3.connect(directory.ledger)
    for file in File:
        stood = [raw for (raw,) in connection.execute(IN_FILES, (file,))]
        directory.shared_file(file).write_bytes(b"".join(raw + b"\n" for raw in stood))
        assert stood
    connection.close()
    return directory


def test_a_rebuild_has_every_record_of_the_old_ledger_also_those_that_waited_for_the_files(tmp_path: Path) -> None:
    directory = make_old_with_files(tmp_path)
    work = Rebuild(tmp_path)
    assert work.has_ledger() and work.carried_over() == 21
    records, aside = work.run()
    assert records == len(FACTS["candidates"]) and aside.exists()
    ledger = SqliteLedger(directory, encode_example)
    for id, known in FACTS["candidates"].items():
        found = ledger.read(lambda reader, id=id: reader.candidate(id))
        assert found is not None and found.raw.decode() == known["raw"]
        assert found.revision > FACTS["last"]
    revision = ledger.read(lambda reader: reader.revision())
    before = {(id, encoded) for _, id, encoded in FACTS["exports"][str(FACTS["last"])]}
    now = {id for _, id, _ in exported(ledger, revision)}
    assert now >= {id for id, _ in before}
    assert ledger.read(lambda reader: reader.stats(CandidateFilter())).by_status == FACTS["stats"]["by_status"]
    ledger.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_rebuild_puts_back_the_lines_of_others_that_the_old_ledger_alone_had(tmp_path: Path, is_there: bool) -> None:
    directory = make_old_with_files(tmp_path)
    path = directory.shared_file(File.CANDIDATES)
    before = lines(path) if is_there else []
    if not is_there:
        path.unlink()
    Rebuild(tmp_path).run()
    assert lines(path) == [*before, TORN]


def test_lines_of_others_are_put_back_once_although_the_rebuild_that_did_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_old_with_files(tmp_path).shared_file(File.CANDIDATES)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(rebuild, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Rebuild(tmp_path).run()
    Rebuild(tmp_path).run()
    assert lines(path).count(TORN) == 1
