"""Several reviewers at once: nobody is shown what another holds, and nobody's decision is overwritten."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.fake import FakeServer
from tests.client.review.reviewer import (
    ENTER,
    ESCAPE,
    HINT,
    TYPED,
    Reviewers,
    candidate,
    correct,
    discard,
    drafts,
    holders,
    press,
    status,
)
from tests.client.terminal import Terminal
from tests.operate.support import Bearer, new_token
from tests.support import Server, eventually

IDLE = "[r]efresh"
pytestmark = pytest.mark.timeout(300)  # some wait until a lease ends


def test_two_reviewers_at_once_never_meet_and_share_the_queue(begin: Reviewers, reviewed: Server) -> None:
    kim = begin(name="kim")
    assert "reason of one" in kim.read_until(HINT)
    lou = begin(name="lou")
    assert "reason of two" in lou.read_until(HINT)
    assert holders(reviewed) == {"one": "kim", "two": "lou"}
    assert "reason of three" in discard(kim)
    assert "reason of four" in discard(lou)
    assert "Nothing is left for you. 1 in review" in discard(kim, IDLE)
    press(lou, ESCAPE)
    assert "reason of four" in lou.display
    discard(lou, IDLE)
    for terminal, counts in ((kim, "2 discarded"), (lou, "2 discarded")):
        press(terminal, "q", counts)
        assert terminal.end() == 0
    assert [candidate(reviewed, id).reviewed_by for id in ("one", "two", "three", "four")] == ["kim", "lou"] * 2


def test_what_is_skipped_goes_to_others_at_once_and_not_to_the_same_reviewer(
    begin: Reviewers, reviewed: Server
) -> None:
    kim = begin(name="kim")
    kim.read_until(HINT)
    assert "reason of two" in press(kim, "s")
    assert holders(reviewed) == {"two": "kim"}
    lou = begin(name="lou")
    assert "reason of one" in lou.read_until(HINT)
    press(kim, "q", "1 skipped")
    again = begin(name="kim")
    assert "reason of two" in again.read_until(HINT), "one is held by lou, and was skipped by kim"
    press(lou, "q", "nothing was decided")
    eventually(lambda: holders(reviewed) == {"two": "kim"}, within=30)
    assert "reason of three" in press(again, "s")


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM, signal.SIGHUP, "the terminal goes"])
def test_claims_are_released_however_the_review_is_left(
    begin: Reviewers, reviewed: Server, end: str | signal.Signals
) -> None:
    terminal = begin()
    terminal.read_until(HINT)
    discard(terminal)
    press(terminal, "u")
    assert holders(reviewed) == {"one": "kim", "two": "kim"}
    if isinstance(end, signal.Signals):
        terminal.send(end)
        assert terminal.end() == 130
    elif end == "the terminal goes":
        terminal.hang_up()
        terminal.end()
    else:
        press(terminal, end, "1 undone")
        assert terminal.end() == 0
    assert holders(reviewed) == {}
    assert not drafts(Path(terminal.home))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_review_that_is_ended_while_the_editor_is_open_releases_and_keeps_what_was_saved(
    begin: Reviewers, reviewed: Server, editor: Path, number: signal.Signals
) -> None:
    editor.write_text('#!/bin/sh\necho "Half of it." > "$1"; echo "IN THE EDITOR"; exec sleep 600\n')
    terminal = begin()
    terminal.read_until(HINT)
    press(terminal, "c", "IN THE EDITOR")
    terminal.send(number)
    assert terminal.end() == 130
    assert holders(reviewed) == {}
    again = begin()
    assert "was not stored: one" in again.read_until("Enter: later")
    assert "Half of it." not in press(again, "y")
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "The rest." >> "$1"\n')
    correct(again)
    assert candidate(reviewed, "one").corrected_response == "Half of it.\nThe rest."


def test_a_claim_outlives_its_lease_while_the_candidate_is_shown(begin: Reviewers, reviewed: Server) -> None:
    def expiry() -> int:
        (item,) = reviewed.stub.Queue(pb.QueueRequest(claims=pb.CLAIM_STATE_CLAIMED)).items
        return int(item.claim.expires_at.ToMilliseconds())

    terminal = begin("--lease", "10")
    terminal.read_until(HINT)
    first = expiry()
    eventually(lambda: expiry() > first + 10_000, within=60)
    assert "one is discarded." in discard(terminal)


def test_after_kill_9_a_claim_ends_by_itself_and_the_draft_is_offered_again(
    begin: Reviewers, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\necho "Half of it." >> "$1"; echo "IN THE EDITOR"; exec sleep 600\n')
    terminal = begin("--lease", "10")
    terminal.read_until(HINT)
    press(terminal, "c", "IN THE EDITOR")
    terminal.send(signal.SIGKILL)
    assert terminal.end() == -signal.SIGKILL
    assert holders(reviewed) == {"one": "kim"}
    eventually(lambda: not holders(reviewed), within=60)
    again = begin()
    assert "was not stored: one" in again.read_until("Enter: later")
    assert "A correction that you typed" in press(again, ENTER)
    editor.write_text("#!/bin/sh\nexit 0\n")
    press(again, "c", "y submits it")
    press(again, "y", "What was wrong?")
    press(again, ENTER)
    response = candidate(reviewed, "one").model_response
    assert candidate(reviewed, "one").corrected_response == f"{response}\nHalf of it."
    assert not drafts(Path(again.home))


def test_after_kill_9_the_draft_is_taken_up_while_the_dead_claim_still_lives(
    begin: Reviewers, reviewed: Server
) -> None:
    terminal = begin()
    terminal.read_until(HINT)
    press(terminal, "c", "What was wrong?")
    terminal.send(signal.SIGKILL)
    terminal.end()
    assert holders(reviewed) == {"one": "kim"}
    again = begin()
    again.read_until("Enter: later")
    screen = press(again, "y")
    assert "reason of one" in screen and "in another review" in screen
    press(again, "c", "What was wrong?")
    press(again, ENTER)
    assert candidate(reviewed, "one").corrected_response == TYPED


def lose_the_claim(terminal: Terminal, server: Server, taker: str) -> None:
    """The review stands still, as on a laptop that sleeps, until its claim has ended and another has the candidate."""
    terminal.send(signal.SIGSTOP)
    eventually(lambda: not holders(server), within=60)
    server.stub.Claim(pb.ClaimRequest(reviewer=taker, lease_seconds=600))
    assert holders(server) == {"one": taker}
    terminal.send(signal.SIGCONT)


def test_a_lost_claim_overwrites_nothing_and_what_was_typed_is_kept(
    begin: Reviewers, reviewed: Server, editor: Path
) -> None:
    terminal = begin("--lease", "10")
    terminal.read_until(HINT)
    press(terminal, "c", "What was wrong?")
    lose_the_claim(terminal, reviewed, "lou")
    screen = press(terminal, ENTER)
    assert "one: lou holds it now." in screen and "Your correction is kept." in screen and "reason of two" in screen
    assert status(reviewed, "one") == "needs_review"
    reviewed.correct("one", "by lou", reviewer="lou")
    press(terminal, "q", "The correction of one was not stored")
    terminal.end()
    assert candidate(reviewed, "one").corrected_response == "by lou"
    (kept,) = drafts(Path(terminal.home))
    assert kept.read_text().partition("\n")[2] == TYPED


def test_a_lost_claim_is_told_before_anything_is_typed(begin: Reviewers, reviewed: Server) -> None:
    terminal = begin("--lease", "10")
    terminal.read_until(HINT)
    lose_the_claim(terminal, reviewed, "lou")

    def told() -> bool:
        terminal.press("d")
        if "What was wrong?" in terminal.read_until("What was wrong?", HINT):
            press(terminal, ESCAPE)
            return False
        return True

    eventually(told, within=60)
    screen = terminal.screen
    assert "Your claim on it has ended." in screen and "one: lou holds it now." in screen and "reason of two" in screen
    assert status(reviewed, "one") == "needs_review"


def test_a_claim_that_ended_and_that_nobody_took_is_taken_again(begin: Reviewers, reviewed: Server) -> None:
    terminal = begin("--lease", "10")
    terminal.read_until(HINT)
    press(terminal, "c", "What was wrong?")
    terminal.send(signal.SIGSTOP)
    eventually(lambda: not holders(reviewed), within=60)
    terminal.send(signal.SIGCONT)
    screen = press(terminal, ENTER)
    assert "reason of one" in screen and "A correction that you typed" in screen
    assert holders(reviewed) == {"one": "kim"}
    assert "one is corrected." in correct(terminal)
    assert candidate(reviewed, "one").corrected_response == TYPED


def elsewhere(server: Server, id: str) -> None:
    """Kim decides it in another program."""
    server.correct(id, "by kim elsewhere", reviewer="kim")


def test_what_was_decided_elsewhere_meanwhile_is_left_as_it_is(terminal: Terminal, reviewed: Server) -> None:
    elsewhere(reviewed, "one")
    screen = discard(terminal)
    assert "It is approved now, and is left as it is." in screen and "reason of two" in screen
    assert candidate(reviewed, "one").corrected_response == "by kim elsewhere"


def test_a_correction_typed_while_it_was_decided_elsewhere_is_offered_again(
    terminal: Terminal, reviewed: Server
) -> None:
    elsewhere(reviewed, "one")
    screen = correct(terminal, "Enter: on")
    assert "status: approved" in screen and "by kim elsewhere" in screen
    assert "reason of one" in press(terminal, "r")
    assert "one is corrected." in correct(terminal)
    assert candidate(reviewed, "one").corrected_response == TYPED


@pytest.mark.parametrize("key", [ENTER, ESCAPE, "x"])
def test_a_correction_typed_while_it_was_decided_elsewhere_is_kept_or_thrown_away(
    terminal: Terminal, reviewed: Server, key: str
) -> None:
    elsewhere(reviewed, "one")
    correct(terminal, "Enter: on")
    assert "reason of two" in press(terminal, key)
    screen = press(terminal, "q", "nothing was decided")
    assert ("The correction of one was not stored" in screen) == (key != "x")
    assert len(drafts(Path(terminal.home))) == (key != "x")
    assert candidate(reviewed, "one").corrected_response == "by kim elsewhere"


@pytest.mark.files("another program writes")
def test_a_candidate_that_another_program_edits_is_shown_again_and_still_held(
    terminal: Terminal, reviewed: Server
) -> None:
    before = candidate(reviewed, "one").revision
    text = reviewed.candidates.read_text()
    reviewed.candidates.write_text(text.replace("reason of one", "another reason"))
    eventually(lambda: candidate(reviewed, "one").revision > before, within=60)
    screen = correct(terminal)
    assert "This is how it is now." in screen and "another reason" in screen
    assert holders(reviewed) == {"one": "kim"}
    assert "one is corrected." in correct(terminal)
    assert candidate(reviewed, "one").corrected_response == TYPED


def test_without_claims_nothing_is_held_and_skipped_ones_come_again(begin: Reviewers, reviewed: Server) -> None:
    terminal = begin("--no-claims")
    assert "Candidates are not claimed" in terminal.read_until(HINT)
    assert holders(reviewed) == {}
    lou = begin("--no-claims", name="lou")
    assert "reason of one" in lou.read_until(HINT)
    discard(lou)
    assert "It is discarded now, and is left as it is." in discard(terminal)
    for _ in range(2):
        press(terminal, "s")
    press(terminal, "s", IDLE)
    assert "reason of two" in press(terminal, "r")


def test_a_service_without_claims_is_reviewed_without_them(begin: Reviewers, reviewed: Server) -> None:
    def behave(name: str, request: object, context: grpc.ServicerContext) -> object:
        if name == "Claim":
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return getattr(reviewed.stub, name)(request)

    older = FakeServer(behave)
    try:
        terminal = begin("--address", older.address)
        assert "Candidates are not claimed" in terminal.read_until(HINT)
        assert "reason of two" in discard(terminal)
        assert "reason of one" in press(terminal, "u")
        press(terminal, "q", "1 undone")
        assert terminal.end() == 0
    finally:
        older.close()


def test_with_tokens_the_reviewer_is_the_tokens_name_and_a_reader_is_refused(
    begin: Reviewers, reviewed: Server, tmp_path: Path
) -> None:
    reviewed.stop()
    file = tmp_path / "tokens.yaml"
    tokens = {name: new_token(file, name, role) for name, role in (("ann", "reviewer"), ("rob", "reader"))}
    reviewed.environment |= {"AVOCET_TOKENS_FILE": str(file)}
    reviewed.start(within=60)
    ann = begin("--address", reviewed.address, says_who=False, variables={"AVOCET_TOKEN": tokens["ann"]})
    ann.read_until(HINT)
    correct(ann)
    assert "one is in review again." in press(ann, "u")
    press(ann, "c", "What was wrong?")
    ann.send(signal.SIGKILL)
    ann.end()
    again = begin("--address", reviewed.address, says_who=False, variables={"AVOCET_TOKEN": tokens["ann"]})
    again.read_until("Enter: later")
    assert "in another review" in press(again, "y")
    correct(again)
    shown = Bearer(reviewed.open_channel, tokens["rob"]).GetCandidate(pb.GetCandidateRequest(id="one")).candidate
    assert (shown.corrected_response, shown.reviewed_by) == (TYPED, "ann")
    rob = begin("--address", reviewed.address, says_who=False, variables={"AVOCET_TOKEN": tokens["rob"]})
    assert "reviewer" in rob.read_until("TOKEN_REFUSED")
    assert rob.end() == 5
