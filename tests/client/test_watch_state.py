"""Where a watch stands, however its responses are cut after a break."""

from __future__ import annotations

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.watch_state import WatchState


def response(token: str, *revisions: int) -> pb.WatchResponse:
    changes = [pb.Change(revision=revision, id="c") for revision in revisions]
    return pb.WatchResponse(changes=changes, resume_token=token, revision=max(revisions, default=0))


def taken(state: WatchState, count: int = 100) -> list[int]:
    found: list[int] = []
    while len(found) < count and (change := state.take()):
        found.append(change.revision)
    return found


def test_what_was_taken_of_a_response_does_not_come_again_after_an_empty_one() -> None:
    state = WatchState(pb.WatchRequest())
    state.receive(response("before", 1))
    assert taken(state) == [1]
    state.receive(response("behind", 2, 3, 4))
    assert taken(state, 2) == [2, 3]
    # A break: the new stream says first where it begins, without changes.
    assert state.next_request().resume_token == "before"
    state.receive(response("before"))
    state.receive(response("behind", 2, 3, 4, 5))
    assert taken(state) == [4, 5]


def test_what_was_taken_does_not_come_again_if_responses_are_cut_smaller() -> None:
    state = WatchState(pb.WatchRequest())
    state.receive(response("behind", 1, 2, 3, 4))
    assert taken(state, 3) == [1, 2, 3]
    state.load_state_dict(state.state_dict())
    for number in (1, 2, 3, 4):
        state.receive(response(f"behind {number}", number))
    assert taken(state) == [4]
    stands = state.state_dict()
    assert (stands["resume_token"], stands["taken"]) == ("behind 4", [])


def test_a_state_from_before_the_first_response_goes_on_where_its_watch_began() -> None:
    began = WatchState(pb.WatchRequest(since_revision=7))
    later = WatchState(pb.WatchRequest(since_revision=20))
    later.load_state_dict(began.state_dict())
    assert (later.next_request().since_revision, later.revision) == (7, 7)
