"""The database of running servers is restored from an older dump: files, exports and tokens are right afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.cluster.support import ended, filled, ids, new_server, soon, state
from tests.postgres import Postgres
from tests.postgres_backups import Backup, IntoNewDatabase
from tests.support import Server, records


def exported(server: Server) -> list[str]:
    stream = server.stub.StreamExport(pb.StreamExportRequest())
    return [example.id for response in stream for example in response.examples]


def is_expired(call: Any) -> bool:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    error: Any = caught.value
    return error.code() is grpc.StatusCode.OUT_OF_RANGE


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", [Backup, IntoNewDatabase])
def test_after_a_restore_under_running_servers_the_files_get_what_is_decided_and_old_tokens_are_refused(
    database: str, postgres: Postgres, tmp_path: Path, way: type[Backup]
) -> None:
    first = filled(tmp_path / "keeper", database, 16)
    other = new_server(tmp_path / "other", database).start()
    with ended(first, other):
        for n in range(3):
            first.correct(f"c{n}")
        soon(lambda: len(ids(first.approved)) == 3)
        backup = way(postgres, database)
        for n in range(3, 6):
            other.correct(f"c{n}")
        soon(lambda: len(ids(first.approved)) == 6)
        lost = other.stats().revision
        watch = other.stub.Watch(pb.WatchRequest(since_revision=lost))
        export = other.stub.StreamExport(pb.StreamExportRequest(batch_size=1))
        watched, resumed = next(watch).resume_token, next(export).resume_token
        watch.cancel()
        export.cancel()
        assert exported(other) == [f"c{n}" for n in range(6)]
        backup.restore()
        soon(lambda: other.stats().revision > lost)
        decided = [f"c{n}" for n in range(8, 12)]
        for id in decided:
            other.correct(id)
        soon(lambda: {*decided} <= {*ids(first.approved)})
        soon(lambda: sorted(exported(first)) == sorted(exported(other)) == sorted(ids(first.approved)))
        soon(lambda: state(database).lag_revisions == 0)
        approved = sorted(one["id"] for one in records(first.candidates) if one["status"] == "approved")
        assert approved == sorted(ids(first.approved))
        for server in (first, other):
            assert is_expired(server.stub.Watch(pb.WatchRequest(resume_token=watched)))
            assert is_expired(server.stub.StreamExport(pb.StreamExportRequest(resume_token=resumed)))
        assert (first.stop(), other.stop()) == (0, 0)
