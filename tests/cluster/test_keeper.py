"""One of the servers over a database keeps the two shared files, and no other directory is taken for theirs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.cluster.support import ended, filled, ids, is_kept_in, new_server, soon, state, total
from tests.rpc.test_ingest import request
from tests.support import Server, record, write_records


def test_one_server_keeps_the_files_of_what_any_server_decides(database: str, tmp_path: Path) -> None:
    keeper = filled(tmp_path / "keeper", database)
    other = new_server(tmp_path / "other", database).start()
    with ended(keeper, other):
        other.correct("c1")
        soon(lambda: ids(keeper.approved) == ["c1"])
        with keeper.candidates.open("a") as file:
            file.write('{"id": "theirs", "status": "needs_review"}\n')
        soon(lambda: total(other) == 6)
        assert is_kept_in(database, keeper.data)
        assert not other.candidates.exists()
        assert keeper.stop() == 0
        assert not state(database).is_kept
        assert other.stop() == 0


def test_without_a_keeper_calls_go_on_and_the_files_wait_whole_with_what_others_append(
    database: str, tmp_path: Path
) -> None:
    keeper = filled(tmp_path / "keeper", database)
    other = new_server(tmp_path / "other", database).start()
    with ended(keeper, other):
        keeper.kill()
        other.correct("c1")
        with keeper.candidates.open("a") as file:
            file.write('{"id": "theirs", "status": "needs_review"}\n')
        soon(lambda: not state(database).is_kept)
        assert total(other) == 5 and ids(keeper.approved) == []
        keeper.start()
        soon(lambda: ids(keeper.approved) == ["c1"] and total(other) == 6)


def refusal(server: Server) -> str:
    with pytest.raises(RuntimeError) as caught:
        server.start()
    return str(caught.value)


@pytest.mark.parametrize("what", ["empty", "other files", "of another store", "index without its id"])
def test_a_directory_that_is_not_the_stores_is_refused_and_nothing_is_deleted(
    database: str, postgres, tmp_path: Path, what: str
) -> None:
    keeper = filled(tmp_path / "keeper", database)
    assert keeper.stop() == 0
    other = new_server(tmp_path / "other", database, keeps=True)
    if what == "other files":
        write_records(other.candidates, [record("x")])
    elif what == "of another store":
        second = postgres.new_database()
        other.environment["AVOCET_STORE"] = second
        write_records(other.candidates, [record("x")])
        other.start()
        assert other.stop() == 0
        postgres.drop(second)
        other.environment["AVOCET_STORE"] = database
    elif what == "index without its id":
        shutil.copytree(keeper.data, other.data, dirs_exist_ok=True)
        (other.data / ".avocet/files_id").unlink()
        other.candidates.write_bytes(b"")
    before = other.candidates.read_bytes() if other.candidates.exists() else None
    assert "avocet-grpc keeper take-over --store" in refusal(other)
    assert (other.candidates.read_bytes() if other.candidates.exists() else None) == before
    with ended(keeper):
        keeper.start()
        assert total(keeper) == 5 and ids(keeper.candidates) == [f"c{n}" for n in range(5)]


def test_the_directory_of_a_store_is_refused_for_a_new_database(database: str, postgres, tmp_path: Path) -> None:
    keeper = filled(tmp_path / "keeper", database)
    assert keeper.stop() == 0
    second = postgres.new_database()
    keeper.environment["AVOCET_STORE"] = second
    assert "has the files of another store" in refusal(keeper)
    stateless = new_server(tmp_path / "other", second).start()
    with ended(stateless):
        assert total(stateless) == 0
    postgres.drop(second)


def test_a_directory_with_a_ledger_of_its_own_is_refused_unless_the_store_is_its_copy(
    database: str, tmp_path: Path
) -> None:
    server = Server(tmp_path)
    write_records(server.candidates, [record("a")])
    server.start()
    assert server.stop() == 0
    server.environment["AVOCET_STORE"] = database
    assert "avocet-grpc store copy --from" in refusal(server)
    assert ids(server.candidates) == ["a"]


def test_the_directory_of_a_store_is_refused_without_the_store(database: str, tmp_path: Path) -> None:
    keeper = filled(tmp_path, database)
    assert keeper.stop() == 0
    del keeper.environment["AVOCET_STORE"]
    assert "has the files of a store in PostgreSQL: start with its --store" in refusal(keeper)
    assert ids(keeper.candidates) == [f"c{n}" for n in range(5)]


def test_a_first_keeper_of_a_store_that_has_records_writes_them_and_deletes_none(database: str, tmp_path: Path) -> None:
    other = new_server(tmp_path / "other", database).start()
    keeper = new_server(tmp_path / "keeper", database, keeps=True)
    with ended(keeper, other):
        made = [other.ingest(request(prompt=f"Why {n}?")) for n in range(3)]
        keeper.start()
        soon(lambda: ids(keeper.candidates) == [one.id for one in made])
        assert total(other) == 3


def test_a_stopped_keeper_loses_the_files_and_once_woken_neither_writes_nor_reports(
    database: str, tmp_path: Path
) -> None:
    first = filled(tmp_path / "first", database)
    assert first.stop() == 0
    second = new_server(tmp_path / "second", database, keeps=True)
    shutil.copytree(first.data, second.data, dirs_exist_ok=True)
    with ended(first, second):
        first.start()
        soon(lambda: is_kept_in(database, first.data))
        second.start()
        first.signal_all(signal.SIGSTOP)
        second.correct("c1")
        with first.candidates.open("a") as file:
            file.write('{"id": "unseen", "status": "needs_review"}\n')
        left = first.candidates.read_bytes(), first.approved.read_bytes()
        soon(lambda: is_kept_in(database, second.data))
        first.signal_all(signal.SIGCONT)
        second.correct("c2")
        soon(lambda: sorted(ids(second.approved)) == ["c1", "c2"])
        soon(lambda: "another server keeps the shared files" in first.log)
        assert (first.candidates.read_bytes(), first.approved.read_bytes()) == left
        assert total(first) == total(second) == 5
        assert first.stop() == 0
