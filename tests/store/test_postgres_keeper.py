"""The lease of the files: one holder, and what an earlier one is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import START, Fenced, FileReport
from tests.ledger_suite import encode
from tests.postgres import Postgres


@pytest.fixture
def ledger(database: str) -> Iterator[Any]:
    from avocet_grpc.store.postgres.engine import PostgresLedger

    opened = PostgresLedger(database, encode, warns=False)
    yield opened
    opened.close()


def lease(url: str, holder: str) -> Any:
    from avocet_grpc.store.postgres.keeper import Lease

    return Lease(url, holder, f"host-{holder}", "/data")


def keeping(ledger: Any, url: str, holder: str, data: Path) -> Any:
    from avocet_grpc.maintenance.keeping import Keeping

    data.mkdir(exist_ok=True)
    return Keeping(ledger, url, url, holder, data)


def expire(postgres: Postgres, url: str) -> None:
    postgres.execute("UPDATE keeper SET until = 0", url.rpartition("/")[2])


def test_one_of_two_has_the_lease_and_the_other_once_it_has_run_out_or_was_released(
    database: str, postgres: Postgres
) -> None:
    from avocet_grpc.store.postgres.keeper import Renewal

    one, other = lease(database, "one"), lease(database, "other")
    first = one.take("id", binds=True)
    assert other.take("id") is None and one.renew(first) is Renewal.HELD
    assert (one.state().is_kept, one.state().place) == (True, "host-one:/data")
    expire(postgres, database)
    assert not one.state().is_kept
    assert one.renew(first) is Renewal.HELD and other.take("id") is None
    expire(postgres, database)
    second = other.take("id")
    assert second > first
    assert one.renew(first) is Renewal.LOST and one.take("id") is None
    assert other.ask_for_release() and other.renew(second) is Renewal.RELEASE_WANTED
    other.release(second)
    assert not other.state().is_kept and not other.ask_for_release()
    assert one.take("id") > second


def test_an_epoch_that_a_failover_has_lost_is_not_given_again(database: str, postgres: Postgres) -> None:
    one = lease(database, "one")
    first = one.take("id", binds=True)
    time.sleep(0.002)
    name = database.rpartition("/")[2]
    postgres.execute("UPDATE head SET mirror_epoch = 0", name)
    postgres.execute("UPDATE keeper SET holder = '', until = 0, epoch = 0", name)
    assert lease(database, "other").take("id") > first


def test_a_directory_without_the_id_of_the_ledger_has_no_lease_however_it_asks(database: str) -> None:
    from avocet_grpc.store.postgres.keeper import WrongFiles

    one = lease(database, "one")
    with pytest.raises(WrongFiles):
        one.take("id")
    one.take("id", binds=True)
    for binds in (False, True):
        with pytest.raises(WrongFiles) as caught:
            lease(database, "other").take("another id", binds=binds)
        assert caught.value.expected == "id"
    assert lease(database, "other").take("another id", takes_over=True) is None


def test_a_holder_that_was_replaced_can_send_no_command_and_change_no_file(
    database: str, postgres: Postgres, ledger: Any, tmp_path: Path
) -> None:
    one = keeping(ledger, database, "one", tmp_path / "one")
    assert one.take()
    mirror, disk, place = one.ledger(), one.disk(), tmp_path / "one" / "file"
    epoch = mirror.take_over()
    mirror.set_report(epoch, File.CANDIDATES, FileReport(START, 0, 0))
    disk.close(disk.create(place))
    expire(postgres, database)
    other = keeping(ledger, database, "other", tmp_path / "other")
    (tmp_path / "other/.avocet").mkdir()
    (tmp_path / "other/.avocet/files_id").write_text((tmp_path / "one/.avocet/files_id").read_text())
    assert other.take()
    with pytest.raises(Fenced):
        mirror.set_report(epoch, File.CANDIDATES, FileReport(START, 0, 0))
    one._renew()
    with pytest.raises(Fenced):
        disk.unlink(place)
    with pytest.raises(Fenced), mirror.view():
        pass
    assert place.exists()
    one.close()
    assert other.state().holder == "other"
    other.close()


def test_a_holder_whose_lease_cannot_be_renewed_stops_writing_before_another_may_begin(
    database: str, ledger: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avocet_grpc.maintenance import keeping as module

    one = keeping(ledger, database, "one", tmp_path / "one")
    assert one.take()
    disk, descriptor = one.disk(), one.disk().create(tmp_path / "one" / "file")
    disk.write(descriptor, b"a", 0)
    left = one.state().until - one.state().now
    now = module._now()
    monkeypatch.setattr(module, "_now", lambda: now + left - 1)
    changes = (
        lambda: disk.write(descriptor, b"b", 0), lambda: disk.append(descriptor, b"b"),
        lambda: disk.truncate(descriptor, 0), lambda: disk.rename(tmp_path / "one", tmp_path / "two"),
        lambda: disk.exchange(tmp_path / "one", tmp_path / "two"), lambda: disk.link(tmp_path, tmp_path / "two"),
        lambda: disk.open_to_append(tmp_path / "new"), lambda: disk.create(tmp_path / "new"),
        lambda: disk.copy(descriptor, 0, descriptor, 1, 1),
    )  # fmt: skip
    for change in changes:
        with pytest.raises(Fenced):
            change()
    assert disk.read(descriptor, 9, 0) == b"a" and not (tmp_path / "new").exists()
    disk.close(descriptor)
    one.close()


def test_a_database_that_was_restored_ends_the_mirror_that_followed_it(
    database: str, postgres: Postgres, ledger: Any, tmp_path: Path
) -> None:
    one = keeping(ledger, database, "one", tmp_path / "one")
    assert one.take()
    mirror = one.ledger()
    with mirror.view() as view:
        assert view.head().incarnation
    postgres.execute("UPDATE head SET incarnation = 'another'", database.rpartition("/")[2])
    with pytest.raises(Fenced, match="restored"), mirror.view():
        pass
    one.close()
