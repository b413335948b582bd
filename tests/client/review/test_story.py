"""An afternoon of two reviewers: a conflict, a lost claim, a crash, and a draft that is stored in the end."""

from __future__ import annotations

import signal
from pathlib import Path

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.review.reviewer import (
    ENTER,
    HINT,
    TYPED,
    Reviewers,
    candidate,
    discard,
    drafts,
    holders,
    press,
    status,
)
from tests.client.terminal import Terminal
from tests.support import Server


def store_the_draft(terminal: Terminal, then: str) -> str:
    """Submit what was typed before as it is; gives the screen after that."""
    press(terminal, "c", "y submits it")
    press(terminal, "y", "What was wrong?")
    return press(terminal, ENTER, then)


def test_two_reviewers_go_through_conflict_lost_claim_and_crash_and_lose_nothing(
    begin: Reviewers, reviewed: Server, editor: Path
) -> None:
    # Two at once: each gets another candidate.
    kim, lou = begin(name="kim"), begin(name="lou")
    shown = {}
    for name, terminal in (("kim", kim), ("lou", lou)):
        screen = terminal.read_until(HINT)
        (shown[name],) = (id for id in ("one", "two") if f"reason of {id}" in screen)
    assert holders(reviewed) == {id: name for name, id in shown.items()} and len(holders(reviewed)) == 2
    of_kim, of_lou = shown["kim"], shown["lou"]

    # A conflict: what lou sees is decided elsewhere, and stays so.
    reviewed.correct(of_lou, "by lou elsewhere", reviewer="lou")
    screen = discard(lou)
    assert "It is approved now, and is left as it is." in screen and "reason of three" in screen
    assert candidate(reviewed, of_lou).corrected_response == "by lou elsewhere"

    # A lost claim: while kim types, the candidate leaves review and comes back, and ann has it.
    press(kim, "c", "What was wrong?")
    reviewed.stub.Submit(pb.SubmitRequest(id=of_kim, action=pb.ACTION_FLAG, reviewer="kim"))
    reviewed.stub.Undo(pb.UndoRequest(id=of_kim))
    (taken,) = reviewed.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims
    assert taken.candidate.id == of_kim
    screen = press(kim, ENTER)
    assert (
        f"{of_kim}: ann holds it now." in screen and "Your correction is kept." in screen and "reason of four" in screen
    )
    assert status(reviewed, of_kim) == "needs_review"
    assert holders(reviewed) == {of_kim: "ann", "three": "lou", "four": "kim"}

    # A crash in the middle of another correction.
    editor.write_text('#!/bin/sh\necho "Half of it." > "$1"; echo "IN THE EDITOR"; exec sleep 600\n')
    press(kim, "c", "IN THE EDITOR")
    kim.send(signal.SIGKILL)
    assert kim.end() == -signal.SIGKILL
    reviewed.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[taken.lease_id]))

    # Both corrections are offered again, and stored.
    editor.write_text("#!/bin/sh\nexit 0\n")
    again = begin(name="kim")
    assert f"2 corrections that you typed before were not stored: {of_kim}, four." in again.read_until("Enter: later")
    screen = press(again, "y")
    assert f"reason of {of_kim}" in screen and "A correction that you typed" in screen
    screen = store_the_draft(again, HINT)
    assert "reason of four" in screen and "A correction that you typed" in screen
    store_the_draft(again, "four is corrected.")
    assert candidate(reviewed, of_kim).corrected_response == TYPED
    assert candidate(reviewed, "four").corrected_response == "Half of it."
    assert {candidate(reviewed, id).reviewed_by for id in (of_kim, "four")} == {"kim"}
    assert not drafts(Path(again.home))
    assert holders(reviewed) == {"three": "lou"}
    press(lou, "q", "nothing was decided")
    assert lou.end() == 0 and holders(reviewed) == {}
