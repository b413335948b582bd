"""Exports of a real server, over both clients: exactly once over restarts, from any state, into files."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client import (
    AsyncCorrectionsClient,
    CandidateFilter,
    CorrectionsClient,
    ExportCorrupted,
    RevisionExpired,
    to_kto,
)
from avocet_client.rows import Rows
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Make
from tests.client.drivers import Proxy
from tests.client.fake import FakeServer
from tests.support import ROOT, SECRET, Server, record, write_records

KILLS = 5
MANY = 50_000 if os.environ.get("CLIENT") == "full" else 5_000
"""How many examples the export has during which the server is killed; `make test-client` takes the full size."""
COUNT = 40
IDS = [f"e{number:05d}" for number in range(COUNT)]


def approved(count: int, **changes: Any) -> list[Any]:
    return [record(f"e{n:05d}", status="approved", corrected_response=f"better {n}", **changes) for n in range(count)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of COUNT examples for the tests that only read."""
    made = Server(tmp_path_factory.mktemp("export"))
    write_records(made.approved, approved(COUNT))
    yield made.start()
    made.kill()


def digest(examples: Iterable[pb.TrainingExample]) -> str:
    sha = hashlib.sha256()
    for example in examples:
        sha.update(example.SerializeToString(deterministic=True))
    return sha.hexdigest()


def test_an_export_knows_its_total_and_revision_from_the_first_example(client: Any, server: Server) -> None:
    export = client.export(batch_size=7)
    assert (export.total, export.revision) == (None, 0)
    assert next(export).id == IDS[0]
    assert (export.total, export.consumed, export.revision) == (COUNT, 1, server.stats().revision)
    assert [example.id for example in export] == IDS[1:]
    assert list(export) == []


def test_filters_shards_splits_and_revisions_go_to_the_server(client: Any, server: Server) -> None:
    shards = [{e.id for e in client.export(shard_index=index, shard_count=3)} for index in range(3)]
    assert sorted(id for shard in shards for id in shard) == IDS
    sides = [
        {e.id for e in client.export(split=side, validation_fraction=0.4, seed=3)} for side in ("train", "validation")
    ]
    assert sorted(sides[0] | sides[1]) == IDS and not sides[0] & sides[1] and sides[1]
    assert {e.metadata.task_type for e in client.export(filter=CandidateFilter(task_types=["code"]))} == {"code"}
    revision = server.stats().revision
    assert list(client.export(since_revision=revision)) == []
    assert len(list(client.export(at_revision=revision))) == COUNT


def test_a_server_killed_five_times_changes_nothing_for_the_reader(make_client: Make, tmp_path: Path) -> None:
    server = Server(tmp_path)
    # Between two kills lies far more than all buffers on the way hold, so that each kill finds the stream unfinished.
    write_records(server.approved, approved(MANY, model_response="x" * 700))
    proxy = Proxy(server.start(within=120).address)
    try:
        # A window that does not grow keeps what is under way small.
        client = make_client(proxy.address, options=(("grpc.http2.bdp_probe", 0),))
        undisturbed = digest(client.export())
        breaks = {MANY * (kill + 1) // (KILLS + 2) for kill in range(KILLS)}
        ids, connections, sha = [], proxy.connections, hashlib.sha256()
        for example in client.export(batch_size=50):
            ids.append(example.id)
            sha.update(example.SerializeToString(deterministic=True))
            if len(ids) in breaks:
                server.kill()
                proxy.target = server.start(within=120).address
        assert proxy.connections - connections >= KILLS
        assert ids == [f"e{number:05d}" for number in range(MANY)]
        assert sha.hexdigest() == undisturbed
    finally:
        proxy.close()
        server.kill()


def test_an_export_continues_from_the_state_at_any_example(client: Any) -> None:
    for stop in (0, 1, 6, 7, 8, 33, COUNT):
        export = client.export(batch_size=7)
        before = [next(export).id for _ in range(stop)]
        state = json.loads(json.dumps(export.state_dict()))
        resumed = client.export(batch_size=11)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert before + [example.id for example in resumed] == IDS
        assert (resumed.total, resumed.consumed) == (COUNT, COUNT)


def test_a_finished_export_stays_finished(client: Any) -> None:
    export = client.export()
    assert len(list(export)) == COUNT
    resumed = client.export()
    resumed.load_state_dict(export.state_dict())
    assert list(resumed) == []


def test_a_state_stays_at_its_revision_whatever_is_approved_meanwhile(
    make_client: Make, stopped_server: Server
) -> None:
    write_records(stopped_server.approved, approved(COUNT))
    client = make_client(stopped_server.start().address, token=SECRET)
    export = client.export(batch_size=5)
    before = [next(export).id for _ in range(12)]
    client.ingest(source="s", task_type="t", prompt="p", correction="c")
    resumed = client.export()
    resumed.load_state_dict(export.state_dict())
    assert before + [example.id for example in resumed] == IDS
    assert len(list(client.export())) == COUNT + 1


def test_a_state_of_another_export_is_refused(client: Any) -> None:
    export = client.export(shard_index=0, shard_count=2)
    next(export)
    state = export.state_dict()
    for other in (client.export(), client.export(shard_index=1, shard_count=2)):
        with pytest.raises(ValueError, match="another export"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="revision"):
        client.export(shard_index=0, shard_count=2, at_revision=5).load_state_dict(state)
    with pytest.raises(ValueError, match="version"):
        client.export(shard_index=0, shard_count=2).load_state_dict(state | {"version": 99})


def test_what_is_no_state_is_refused_with_what_to_do_and_changes_nothing(client: Any, tmp_path: Path) -> None:
    export = client.export()
    next(export)
    whole = export.state_dict()
    rows: Any = Rows(export, to_kto)
    for wrong in ([whole], None, "state", 7, {}, {"version": 1}, whole | {"skip": None}, whole | {"resume_token": 5}):
        with pytest.raises(ValueError, match="load one whole as state_dict"):
            export.load_state_dict(wrong)
        for wrong_rows in (wrong, {"export": wrong, "rows": []}, {"export": whole, "rows": None}):
            with pytest.raises(ValueError, match="load one whole as state_dict"):
                rows.load_state_dict(wrong_rows)
        (tmp_path / "out.jsonl.part").write_bytes(b"{}\n")
        kept = {"render": "avocet_client.render.to_dict", "bytes": 0, "rows": 0, "export": wrong}
        (tmp_path / "out.jsonl.part.state").write_text(json.dumps(kept))
        assert client.export().write_jsonl(tmp_path / "out.jsonl") == COUNT
    assert [example.id for example in export] == IDS[1:]


def test_a_loaded_state_replaces_an_iteration_under_way(client: Any) -> None:
    export = client.export(batch_size=5)
    start = export.state_dict()
    assert [next(export).id for _ in range(8)] == IDS[:8]
    export.load_state_dict(start)
    assert [example.id for example in export] == IDS


def test_a_file_is_written_whole_and_with_progress(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "kto.jsonl"
    seen: list[tuple[int, int]] = []
    count = client.export().write_jsonl(path, render=to_kto, on_progress=lambda *now: seen.append(now))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert (count, len(rows)) == (COUNT, 2 * COUNT)
    assert [row["label"] for row in rows[:2]] == [True, False]
    assert seen[-1] == (COUNT, COUNT)
    assert [each.name for each in path.parent.iterdir()] == ["kto.jsonl"]


def test_a_download_that_was_broken_off_is_continued(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    client.export().write_jsonl(whole, render=to_kto)
    monkeypatch.setattr("avocet_client.jsonl.CHECKPOINT_SECONDS", 0)

    def interrupt(done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.export(batch_size=5).write_jsonl(broken, render=to_kto, on_progress=interrupt)
    assert not broken.exists()
    part = tmp_path / "broken.jsonl.part"
    # What a crash leaves behind the last checkpoint, longer than what is still to come.
    part.write_bytes(part.read_bytes() + b'{"half a li' + b"x" * 1_000_000)
    started: list[int] = []
    resumed = client.export()
    assert resumed.write_jsonl(broken, render=to_kto, on_progress=lambda done, _: started.append(done)) == COUNT
    assert started[0] > 17
    assert broken.read_bytes() == whole.read_bytes()
    assert resumed.rows_written == len(whole.read_bytes().splitlines()) == 2 * COUNT
    assert sorted(each.name for each in tmp_path.glob("*.jsonl*")) == ["broken.jsonl", "whole.jsonl"]


@pytest.mark.parametrize("asks_again", [False, True], ids=["for now", "for the revision"])
def test_a_download_of_a_revision_is_continued_by_who_asks_for_it_alone(
    make_client: Make, stopped_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks_again: bool
) -> None:
    write_records(stopped_server.approved, approved(COUNT))
    client = make_client(stopped_server.start().address, token=SECRET)
    before = stopped_server.stats().revision
    monkeypatch.setattr("avocet_client.jsonl.CHECKPOINT_SECONDS", 0)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        client.export(at_revision=before).write_jsonl(path, on_progress=interrupt)
    client.ingest(source="s", task_type="t", prompt="p", correction="c")
    started: list[int] = []
    again = client.export(at_revision=before if asks_again else 0)
    count = again.write_jsonl(path, on_progress=lambda done, _: started.append(done))
    assert (count, started[0]) == ((COUNT, 2) if asks_again else (COUNT + 1, 1))
    assert len(path.read_text().splitlines()) == count


def test_a_part_of_another_export_or_revision_long_gone_is_not_continued(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    export = client.export(shard_count=2)
    next(export)
    state = export.state_dict()
    for stale in (state, client.export().state_dict() | {"revision": 5, "resume_token": "", "skip": 1, "consumed": 1}):
        (tmp_path / "out.jsonl.part").write_bytes(b'{"id": "of another"}\n')
        kept = {"render": "avocet_client.render.to_dict", "bytes": 21, "rows": 0, "export": stale}
        (tmp_path / "out.jsonl.part.state").write_text(json.dumps(kept))
        client.export().write_jsonl(path)
        assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == IDS
    with pytest.raises(RevisionExpired):
        client.export(at_revision=5).write_jsonl(tmp_path / "other.jsonl")


def test_an_example_that_could_not_be_written_is_not_left_out_by_the_next_try(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    faults = [True]

    def render(example: pb.TrainingExample) -> Any:
        if example.id == IDS[13] and faults:
            faults.clear()
            raise KeyError("a fault of the renderer's own")
        return {"id": example.id}

    with pytest.raises(KeyError):
        client.export(batch_size=5).write_jsonl(path, render=render)
    assert client.export().write_jsonl(path, render=render) == COUNT
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == IDS


def test_a_download_that_came_incomplete_begins_anew(make_client: Make, tmp_path: Path) -> None:
    def behave(name: str, request: pb.StreamExportRequest, context: Any) -> Iterator[pb.StreamExportResponse]:
        asked.append(request.resume_token)
        sent, told = ("ax", "ab") if len(asked) == 1 else ("ab", "ab")
        examples = [pb.TrainingExample(id=id) for id in sent if not request.resume_token]
        yield pb.StreamExportResponse(examples=examples, resume_token="end", revision=7, total=len(examples))
        told = "".join(f"{id}\n" for id in told if examples)
        summary = pb.ExportSummary(example_count=len(examples), ids_sha256=hashlib.sha256(told.encode()).hexdigest())
        yield pb.StreamExportResponse(resume_token="end", revision=7, summary=summary)

    asked: list[str] = []
    fake = FakeServer(behave)
    path = tmp_path / "out.jsonl"
    client = make_client(fake.address)
    with pytest.raises(ExportCorrupted, match="start it again"):
        client.export().write_jsonl(path)
    assert client.export().write_jsonl(path) == 2
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert asked == ["", ""]
    fake.close()


def test_two_downloads_to_one_path_do_not_mix(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avocet_client.jsonl.CHECKPOINT_SECONDS", 0)
    path = tmp_path / "out.jsonl"
    refused: list[Exception] = []

    def again(done: int, _: int) -> None:
        if done == 9:
            with (
                pytest.raises(FileExistsError, match="another process") as caught,
                CorrectionsClient("unused") as other,
            ):
                other.export().write_jsonl(path)
            refused.append(caught.value)

    assert client.export().write_jsonl(path, on_progress=again) == COUNT
    assert len(refused) == 1
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == IDS


def test_a_killed_download_is_continued_by_the_next_process(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    script = textwrap.dedent(
        f"""
        import os, avocet_client.jsonl
        from avocet_client import CorrectionsClient
        avocet_client.jsonl.CHECKPOINT_SECONDS = 0
        def die(done, total):
            if done == 23 and not os.path.exists({str(tmp_path / "died")!r}):
                open({str(tmp_path / "died")!r}, "w").close()
                os.kill(os.getpid(), 9)
        CorrectionsClient({server.address!r}).export(batch_size=5).write_jsonl({str(path)!r}, on_progress=die)
        """
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == -9
    assert not path.exists()
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == IDS


def test_an_export_over_a_given_channel_and_a_closed_client_reads_on(server: Server) -> None:
    client = CorrectionsClient(server.address)
    export = client.export(batch_size=5)
    before = [next(export).id for _ in range(7)]
    client.close()
    assert before + [example.id for example in export] == IDS
    client.close()


class Interrupted(grpc.UnaryStreamClientInterceptor):
    """Ctrl-C comes just after each stream's second response was taken, and before its reader has it."""

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return InterruptedCall(continuation(details, request))


class InterruptedCall:
    def __init__(self, call: Any) -> None:
        self._call = call
        self._taken = 0
        self.cancel = call.cancel

    def __next__(self) -> Any:
        response = next(self._call)
        self._taken += 1
        if self._taken == 2:
            raise KeyboardInterrupt
        return response


def test_who_iterates_on_after_ctrl_c_misses_nothing(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        export = CorrectionsClient(grpc.intercept_channel(channel, Interrupted())).export(batch_size=5)
        ids: list[str] = []
        interrupts = 0
        while len(ids) < COUNT:
            try:
                for example in export:
                    ids.append(example.id)
            except KeyboardInterrupt:
                interrupts += 1
        assert ids == IDS
        assert interrupts >= 5


def test_a_task_cancelled_in_the_middle_leaves_the_async_export_usable(server: Server) -> None:
    async def read() -> list[str]:
        async with AsyncCorrectionsClient(server.address) as client:
            export = client.export(batch_size=5)
            before = [(await anext(export)).id for _ in range(5)]
            task = asyncio.ensure_future(anext(export))
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                before.append((await task).id)
            return before + [example.id async for example in export]

    assert asyncio.run(read()) == IDS
