"""Drafts on disk: nothing that was typed is lost, and no other file does harm."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from avocet_client.cli.review.drafts import MESSAGE, TEXT, Drafts, state_directory
from avocet_client.cli.review.workplace import Begun, abandoned, workplace
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
    press,
    status,
)
from tests.client.terminal import Terminal
from tests.support import BIN, Server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/avocet/drafts"


def leave_a_draft(terminal: Terminal) -> Path:
    """Type a correction of the first candidate, and quit; gives the draft's file."""
    press(terminal, "c", "What was wrong?")
    assert "Nothing was decided." in press(terminal, ESCAPE)
    press(terminal, "q", "nothing was decided")
    terminal.end()
    (path,) = drafts(Path(terminal.home))
    return path


def test_a_draft_is_private_and_named_at_the_end(terminal: Terminal) -> None:
    path = leave_a_draft(terminal)
    assert str(path) in terminal.screen.replace("\r\n", "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text().partition("\n")[2] == TYPED


@pytest.mark.parametrize("end", ["\x03", signal.SIGKILL])
def test_a_draft_outlives_the_review_and_is_offered_first(
    begin: Reviewers, reviewed: Server, end: str | signal.Signals
) -> None:
    terminal = begin()
    terminal.read_until(HINT)
    press(terminal, "s")
    press(terminal, "c", "What was wrong?")
    if isinstance(end, str):
        press(terminal, end, "The correction of two was not stored")
    else:
        terminal.send(end)
    terminal.end()
    again = begin()
    assert "was not stored: two" in again.read_until("Enter: later")
    screen = press(again, "y")
    assert "reason of two" in screen and "A correction that you typed" in screen
    assert "two is corrected." in correct(again)
    assert not drafts(Path(again.home))
    assert candidate(reviewed, "two").corrected_response == TYPED


def test_drafts_wait_for_their_turn_if_the_reviewer_says_so(begin: Reviewers, terminal: Terminal) -> None:
    leave_a_draft(terminal)
    for key in (ENTER, ESCAPE):
        again = begin()
        again.read_until("Enter: later")
        assert "A correction that you typed" in press(again, key)
        press(again, "q", "nothing was decided")
        again.end()


def test_a_draft_is_deleted_when_the_decision_is_stored_or_the_reviewer_says_so(
    begin: Reviewers, terminal: Terminal
) -> None:
    leave_a_draft(terminal)
    again = begin()
    again.read_until("Enter: later")
    press(again, ENTER)
    assert "thrown away" in press(again, "x")
    assert not drafts(Path(again.home))
    assert "No correction is kept" in press(again, "x")
    press(again, "c", "What was wrong?")
    press(again, ESCAPE)
    assert len(drafts(Path(again.home))) == 1
    discard(again)
    assert not drafts(Path(again.home))


def test_a_draft_of_a_candidate_that_was_decided_meanwhile_can_take_its_place(
    begin: Reviewers, terminal: Terminal, reviewed: Server
) -> None:
    leave_a_draft(terminal)
    reviewed.correct("one", "by lou", reviewer="lou")
    again = begin()
    again.read_until("Enter: later")
    assert "by lou" in press(again, "y", "Enter: on")
    assert "reason of one" in press(again, "r")
    correct(again)
    assert candidate(reviewed, "one").corrected_response == TYPED


def test_submit_offers_the_draft_too_and_deletes_it_when_it_is_stored(
    begin: Reviewers, terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    leave_a_draft(terminal)
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "And more." >> "$1"\n')
    submit = begin(command=[str(BIN / "avocet"), "submit", "one", "--address", reviewed.address])
    submit.rest()
    assert submit.end() == 0
    assert candidate(reviewed, "one").corrected_response == f"{TYPED}\nAnd more."
    assert not drafts(Path(terminal.home))


def test_submit_says_where_the_draft_is_if_a_colleague_has_decided(
    begin: Reviewers, terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    leave_a_draft(terminal)
    reviewed.correct("one", "by lou", reviewer="lou")
    editor.write_text('#!/bin/sh\necho "And more." >> "$1"\n')
    submit = begin(command=[str(BIN / "avocet"), "submit", "one", "--address", reviewed.address])
    assert "correction is kept in" in submit.rest()
    assert submit.end() == 4
    (kept,) = drafts(Path(terminal.home))
    assert TYPED in kept.read_text() and "And more." not in kept.read_text()


def test_both_forms_of_a_correction_are_kept_beside_each_other(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    press(terminal, "c", "What was wrong?")
    press(terminal, ESCAPE)
    editor.write_text('#!/bin/sh\nsleep 0.01; sed -i "s/call_1/call_2/" "$1"\n')
    press(terminal, "t", "What was wrong?")
    press(terminal, ESCAPE)
    assert {path.suffix for path in drafts(Path(terminal.home))} == {TEXT, MESSAGE}
    editor.write_text("#!/bin/sh\nexit 0\n")
    press(terminal, "t", "Unchanged")
    press(terminal, "y", "What was wrong?")
    press(terminal, ENTER)
    assert '"call_2"' in candidate(reviewed, "one").corrected_response
    assert not drafts(Path(terminal.home))


def test_a_disk_that_takes_no_draft_is_told_and_the_text_is_kept_all_the_same(
    begin: Reviewers, reviewed: Server, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    terminal = begin(variables={"XDG_STATE_HOME": str(blocked)})
    terminal.read_until(HINT)
    press(terminal, "c", "What was wrong?")
    press(terminal, ESCAPE)
    press(terminal, "s")
    assert "Drafts cannot be kept" in terminal.screen
    press(terminal, "u")
    assert "A correction that you typed" in terminal.screen
    screen = press(terminal, "q", "nothing was decided").replace("\r\n", "")
    path = Path(screen.partition("it is kept in ")[2].partition(TEXT)[0] + TEXT)
    assert path.read_text() == TYPED and path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    assert status(reviewed, "one") == "needs_review"


HARMFUL = {
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
    "not JSON": b"{torn",
    "not an object": b"[1]\ntext",
    "of another form": b'{"avocet_draft": 2}\ntext',
    "of wrong types": b'{"avocet_draft": 1, "address": "a", "id": 7, "at": 7}\ntext',
    "without a text": b'{"avocet_draft": 1, "address": "a", "id": "one", "at": "2025-03-01T12:00:00+00:00"}\n',
    "another candidate's": b'{"avocet_draft": 1, "address": "a", "id": "two", "at": "2025-03-01T12:00:00+00:00"}\ntext',
    "another service's": b'{"avocet_draft": 1, "address": "b", "id": "one", "at": "2025-03-01T12:00:00+00:00"}\ntext',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_file_that_is_not_a_draft_is_ignored_and_never_overwritten(home: Path, content: bytes) -> None:
    store = Drafts("a")
    store.keep("one", TEXT, "typed")
    (path,) = [path for path in home.rglob("*") if path.is_file()]
    path.write_bytes(content)
    assert (store.of("one", TEXT), store.ids(), store.drop("one")) == (None, [], [])
    assert path.read_bytes() == content
    store.keep("one", TEXT, "typed again")
    kept = store.of("one", TEXT)
    assert kept is not None and kept.text == "typed again"
    assert sorted(each.read_bytes() for each in path.parent.iterdir() if each != path) == [content]


def test_links_pipes_and_directories_in_place_of_a_draft_do_no_harm(home: Path, tmp_path: Path) -> None:
    store = Drafts("a")
    other = tmp_path / "other"
    other.write_text("somebody's file")
    path = store.path("one", TEXT)
    path.parent.mkdir(parents=True)
    for make in (lambda: path.symlink_to(other), lambda: os.mkfifo(path), lambda: path.mkdir()):
        make()
        assert store.of("one", TEXT) is None and store.ids() == []
        store.keep("one", TEXT, "typed")
        kept = store.of("one", TEXT)
        assert kept is not None and kept.text == "typed" and store.trouble == ""
        assert other.read_text() == "somebody's file"
        assert [draft.text for draft in store.drop("one")] == ["typed"]


def test_drafts_are_below_the_state_directory_which_must_be_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert state_directory() == tmp_path / "state/avocet"
    for stated in ("", "state"):
        monkeypatch.setenv("XDG_STATE_HOME", stated)
        assert state_directory() == tmp_path / ".local/state/avocet"


def test_drafts_of_two_services_and_of_hostile_ids_stay_apart(home: Path) -> None:
    ids = ["one", "../one", "x" * 512, "天\n\x1b[2J"]
    for address in ("a:1", "b:1"):
        for id in ids:
            Drafts(address).keep(id, TEXT, f"{address} {id}\r\nwith its own ends")
    for address in ("a:1", "b:1"):
        assert sorted(Drafts(address).ids()) == sorted(ids)
        for id in ids:
            draft = Drafts(address).of(id, TEXT)
            assert draft is not None and draft.text == f"{address} {id}\r\nwith its own ends"
    assert all(path.is_relative_to(home) for path in home.parent.rglob("*.md"))


def test_an_edit_that_is_under_way_is_not_taken_for_an_abandoned_one(tmp_path: Path) -> None:
    begun = Begun("one", "start", ["about it"])
    with workplace(tmp_path, "name", begun) as place:
        assert list(abandoned(tmp_path, "name")) == []
        file = place / "correction.md"
        assert file.stat().st_mode & 0o777 == 0o600 and place.stat().st_mode & 0o777 == 0o700
        assert "# about it" in file.read_text() and file.read_text().endswith("start\n")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), workplace(tmp_path, "name", begun) as place:
        (place / "correction.md").write_text("typed\n")
        raise ZeroDivisionError
    assert [(each[1], each[2]) for each in abandoned(tmp_path, "name")] == [(begun, "typed")]
    (place / "begun.json").write_text(json.dumps({"id": "one"}))
    assert list(abandoned(tmp_path)) == []
