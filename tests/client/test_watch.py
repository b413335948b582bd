"""Following changes: each exactly once and in order, over kills of the server and restarts of the reader."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from avocet_client import AsyncCorrectionsClient, CandidateFilter, CorrectionsClient, RevisionExpired, TransportError
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.watch_state import WatchState
from tests.client.conftest import Make
from tests.support import PATIENCE_S, SECRET, Server, eventually, make_run, record, write_records

Key = tuple[int, str, int]


@pytest.fixture
def stopped_server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{number}", task_type="code") for number in range(40)])
    return stopped_server


def key(change: pb.Change) -> Key:
    return change.revision, change.id, change.file


def history(server: Server, since: int) -> list[Key]:
    """What changed, as the history's pages say it."""
    found: list[Key] = []
    token = ""
    while True:
        request = pb.ListHistoryRequest(since_revision=since, oldest_first=True, page_size=500, page_token=token)
        page = server.stub.ListHistory(request)
        found += [key(change) for change in page.changes]
        if not (token := page.next_page_token):
            return found


def change_much(server: Server, round: int) -> None:
    """Some changes of every kind."""
    for number in range(round * 5, round * 5 + 5):
        server.correct(f"c{number}")
    server.stub.Undo(pb.UndoRequest(id=f"c{round * 5}"))
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction=f"{round}"))
    if round % 3 == 0:
        make_run(server.runs, f"run-{round}", count=1_200)
        server.set_runs_directory()
        server.stub.Import(pb.ImportRequest(run_id=f"run-{round}"))
    if server.has_files:
        with server.candidates.open("a") as file:
            file.write(json.dumps(record(f"foreign-{round}")) + "\n")
        eventually(lambda: server.stub.ListHistory(pb.ListHistoryRequest(id=f"foreign-{round}")).changes)


def test_every_change_comes_once_and_in_order_over_kills_and_saved_states(make_client: Make, server: Server) -> None:
    server.listen = server.address
    client = make_client(server.address, token=SECRET)
    begin = server.stats().revision
    seen: list[Key] = []
    rng = random.Random(7)
    watch = client.watch(since_revision=begin)
    for round in range(6):
        change_much(server, round)
        for _ in range(rng.randrange(3, 900) if round % 3 == 0 else rng.randrange(1, 9)):
            seen.append(key(next(watch)))
        if round % 2:
            server.kill()
            server.start()
        else:
            state = json.loads(json.dumps(watch.state_dict()))
            watch.close()
            watch = client.watch(since_revision=begin)
            watch.load_state_dict(state)
    expected = history(server, begin)
    while len(seen) < len(expected):
        seen.append(key(next(watch)))
    assert seen == expected
    assert len(set(seen)) == len(seen) > 2_400
    server.correct("c39")
    assert next(watch).id == "c39"
    assert watch.revision == server.stats().revision
    watch.close()


def test_a_watch_is_narrowed_by_filter_and_action_and_brings_candidates(client: Any, server: Server) -> None:
    client.ingest(source="kiwi", task_type="sum", prompt="1+1?", correction="2")
    begin = server.stats().revision
    client.submit("c1", action="flag")
    client.submit("c2", action="discard", reviewer="kim")
    client.ingest(source="kiwi", task_type="sum", prompt="2+2?", correction="4")
    client.submit("c3", action="discard")
    wanted = {"filter": CandidateFilter(task_types=["code"]), "actions": ["discard"], "include_candidates": True}
    watch = client.watch(since_revision=begin, **wanted)
    first, second = next(watch), next(watch)
    assert (first.id, first.actor, first.candidate.task_type, second.id) == ("c2", "kim", "code", "c3")
    watch.close()
    other = client.watch(since_revision=begin)
    with pytest.raises(ValueError, match="another watch"):
        other.load_state_dict(watch.state_dict())
    with pytest.raises(ValueError, match="version"):
        other.load_state_dict({"version": 0})
    whole = other.state_dict()
    for wrong in (
        [whole],
        None,
        {"version": 1},
        whole | {"taken": None},
        whole | {"taken": [1]},
        whole | {"taken": [("x", "c1", 1)]},
    ):
        with pytest.raises(ValueError, match="load one whole as state_dict"):
            other.load_state_dict(wrong)
    assert next(other).id == "c1" and other.state_dict() != whole


def test_a_watch_of_what_is_no_longer_kept_is_an_error_of_its_own(client: Any) -> None:
    with pytest.raises(RevisionExpired):
        next(client.watch(since_revision=1))


def responses(sizes: list[int], revision: int = 5) -> Iterator[pb.WatchResponse]:
    """Seven changes, cut into responses of these sizes, as the server does within one revision."""
    changes = [pb.Change(revision=revision, id=f"{number}", file=pb.SHARED_FILE_CANDIDATES) for number in range(7)]
    done = 0
    for size in sizes:
        part = changes[done : done + size]
        done += size
        yield pb.WatchResponse(changes=part, revision=revision - (done < 7), resume_token=f"behind {done}")


def taken(state: WatchState, count: int = 100) -> list[str]:
    found: list[str] = []
    while len(found) < count and (change := state.take()) is not None:
        found.append(change.id)
    return found


@pytest.mark.parametrize("cut", [[7], [1] * 7, [2, 5], [5, 2], [3, 3, 1]])
@pytest.mark.parametrize("before", range(8))
def test_responses_that_are_cut_otherwise_after_a_break_repeat_nothing(before: int, cut: list[int]) -> None:
    state = WatchState(pb.WatchRequest(since_revision=4))
    state.receive(next(responses([7])))
    handed_out = taken(state, before)
    if before < 7:
        assert state.next_request().since_revision == 4 or state.next_request().resume_token == ""
        resumed = WatchState(pb.WatchRequest(since_revision=4))
        resumed.load_state_dict(json.loads(json.dumps(state.state_dict())))
        for response in responses(cut):
            resumed.receive(response)
            handed_out += taken(resumed)
        state = resumed
    assert handed_out == [f"{number}" for number in range(7)]
    assert state.next_request().resume_token == "behind 7"
    assert state.state_dict()["taken"] == [] and state.revision == 5


def test_closing_the_client_ends_its_watches(server: Server) -> None:
    client, caught = CorrectionsClient(server.address), list[BaseException]()
    began = threading.Event()

    def follow() -> None:
        try:
            for _ in client.watch(since_revision=server.stats().revision - 1):
                began.set()
        except BaseException as error:
            caught.append(error)

    server.correct("c0")
    thread = threading.Thread(target=follow)
    thread.start()
    assert began.wait(PATIENCE_S)
    client.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [(type(error), str(error)) for error in caught] == [(TransportError, "the client was closed [CANCELLED]")]


def test_closing_the_client_ends_its_watches_as_an_error_and_no_cancelled_task(server: Server) -> None:
    async def followed() -> str:
        client = AsyncCorrectionsClient(server.address)

        async def follow() -> str:
            try:
                async for _ in client.watch():
                    pass
            except TransportError as error:
                return str(error)
            return "ended"

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.5)
        await client.close()
        return await asyncio.wait_for(task, PATIENCE_S)

    assert asyncio.run(followed()) == "the client was closed [CANCELLED]"


def test_a_task_that_follows_changes_can_be_cancelled(server: Server) -> None:
    async def followed() -> bool:
        async with AsyncCorrectionsClient(server.address) as client:

            async def follow() -> None:
                async for _ in client.watch():
                    pass

            task = asyncio.create_task(follow())
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE_S)
            return task.cancelled()

    assert asyncio.run(followed())
