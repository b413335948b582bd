"""What a reviewer sees: on screens of any size, with long texts, and in the pager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.client.review.reviewer import ESCAPE, HINT, Reviewers, candidate, discard, press, status
from tests.client.terminal import Terminal
from tests.support import Server, record, write_records

ID = "2025-03-01-120000-a-candidate-with-a-long-id-0000001"
LINES = 600


@pytest.fixture
def stopped_server(stopped_server: Server) -> Server:
    return stopped_server


@pytest.fixture
def long_texts(reviewed: Server) -> Server:
    """Its first candidate has a long prompt, and all have long ids."""
    reviewed.stop()
    prompt = "\n".join(f"line {number} of the prompt" for number in range(LINES))
    first = record(ID, prompt_messages=[{"role": "user", "content": prompt}], failure_reason="reason of the first")
    write_records(reviewed.candidates, [first, *(record(f"{ID}-{n}", failure_reason=f"no. {n}.") for n in range(3))])
    return reviewed.start(within=60)


@pytest.mark.files("the files are replaced while it is stopped")
@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_screen_has_everything_and_the_id_whole(begin: Reviewers, long_texts: Server, columns: int) -> None:
    terminal = begin("--address", long_texts.address, columns=columns, rows=60)
    screen = terminal.read_until(HINT)
    assert f"{ID}\r\n" in screen
    assert "1 of 4" in screen and "more characters" in screen
    assert "no. 0." in discard(terminal)
    assert all(len(line) <= columns for line in terminal.display.split("\n"))
    for text in ("2 of 4", "What was wrong?", "6 hallucination", f"{ID} is discarded.", "[c]orrect", HINT):
        wrapped = terminal.display.replace("\n", "").replace(" ", "")
        assert text.replace(" ", "") in wrapped
    borders = [line for line in terminal.display.split("\n") if line.startswith("│")]
    assert borders and all(line.endswith("│") and len(line) == columns for line in borders)
    press(terminal, "?")
    press(terminal, "q", "1 discarded")
    assert terminal.end() == 0


def test_another_size_of_the_screen_draws_the_candidate_again(terminal: Terminal, reviewed: Server) -> None:
    assert max(map(len, terminal.display.split("\n"))) == 100
    terminal.resize(40, 60)
    terminal.read_until(HINT)
    assert max(map(len, terminal.display.split("\n"))) == 40
    assert "reason of one" in terminal.display
    press(terminal, "d", "What was wrong?")
    terminal.resize(80, 50)
    terminal.read_until("Esc: back")
    assert "reason of one" in terminal.display and "What was wrong?" in terminal.display
    assert status(reviewed, "one") == "needs_review"
    press(terminal, "d")
    assert status(reviewed, "one") == "discarded"


def test_a_size_that_changes_while_the_editor_is_open_counts_afterwards(terminal: Terminal, editor: Path) -> None:
    editor.write_text('#!/bin/sh\necho "IN THE EDITOR"; read _; echo "New." > "$1"\n')
    press(terminal, "c", "IN THE EDITOR")
    terminal.resize(40, 60)
    press(terminal, "\n", "What was wrong?")
    press(terminal, "c")
    assert max(map(len, terminal.display.split("\n"))) == 40


@pytest.mark.files("the files are replaced while it is stopped")
def test_a_long_text_is_read_in_less(begin: Reviewers, long_texts: Server) -> None:
    terminal = begin("--address", long_texts.address, rows=24)
    screen = terminal.read_until(HINT)
    assert "line 20 of the prompt" in screen and "line 300 of" not in screen and "reason of the first" in screen
    press(terminal, "p", "line 5 of the prompt")
    press(terminal, "/line 300 of\n", "line 300 of the prompt")
    press(terminal, "q")
    assert status(long_texts, ID) == "needs_review"
    press(terminal, " ", "line 5 of the prompt")
    press(terminal, "q")
    press(terminal, "q", "nothing was decided")
    assert terminal.end() == 0


@pytest.mark.files("the files are replaced while it is stopped")
def test_the_readers_own_pager_gets_the_whole_text(begin: Reviewers, long_texts: Server, tmp_path: Path) -> None:
    got = tmp_path / "got"
    terminal = begin("--address", long_texts.address, variables={"PAGER": f"tee {got}"})
    terminal.read_until(HINT)
    press(terminal, "p")
    assert all(f"line {number} of the prompt" in got.read_text() for number in (0, 300, LINES - 1))
    assert "\x1b" not in got.read_text()


@pytest.mark.files("the files are replaced while it is stopped")
def test_a_pager_that_ends_early_or_by_ctrl_c_does_no_harm(begin: Reviewers, long_texts: Server) -> None:
    terminal = begin("--address", long_texts.address, variables={"PAGER": "head -n 3"})
    terminal.read_until(HINT)
    assert ID in press(terminal, "p")
    press(terminal, "q", "nothing was decided")
    terminal = begin("--address", long_texts.address)
    terminal.read_until(HINT)
    press(terminal, "p", "line 5 of the prompt")
    press(terminal, "\x03", ":")
    press(terminal, "q")
    press(terminal, "q", "nothing was decided")
    assert terminal.end() == 0


@pytest.mark.files("the files are replaced while it is stopped")
@pytest.mark.parametrize("pager", ["/no/such/pager", "sh -c 'exit 127'", "'unclosed"])
def test_without_a_pager_a_long_text_is_read_here(begin: Reviewers, long_texts: Server, pager: str) -> None:
    terminal = begin("--address", long_texts.address, variables={"PAGER": pager}, rows=24)
    terminal.read_until(HINT)
    assert "names the pager" in " ".join(press(terminal, "p", "[q]uit the page").split())
    assert "line 30 of the prompt" in press(terminal, " ", "[q]uit the page")
    assert "line 5 of the prompt" in press(terminal, "b", "[q]uit the page")
    press(terminal, ESCAPE, "[u]ndo")
    terminal.read_until(HINT)
    press(terminal, "p", "[q]uit the page")
    for _ in range(LINES):
        terminal.press(" ")
        if "[u]ndo" in terminal.read_until("[q]uit the page", "[u]ndo"):
            break
    assert "[u]ndo" in terminal.screen
    assert status(long_texts, ID) == "needs_review"


@pytest.mark.files("the files are replaced while it is stopped")
def test_a_single_line_without_end_is_cut_on_the_screen_and_whole_in_the_pager(
    begin: Reviewers, reviewed: Server, tmp_path: Path
) -> None:
    reviewed.stop()
    write_records(reviewed.candidates, [record("long", model_response="x" * 100_000)])
    reviewed.start(within=60)
    got = tmp_path / "got"
    terminal = begin("--address", reviewed.address, variables={"PAGER": f"tee {got}"})
    assert terminal.read_until(HINT).count("x") < 20_000
    press(terminal, "p")
    assert got.read_text().count("x") == 100_000
    assert json.loads(reviewed.candidates.read_text())["model_response"] == candidate(reviewed, "long").model_response
