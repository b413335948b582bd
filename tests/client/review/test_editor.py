"""The editor: the prompt stands above the text as comments, and only what was typed comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avocet_client.cli.review.editor import CommentsLeft, composed, without_comments
from tests.client.review.reviewer import ENTER, ESCAPE, TYPED, candidate, correct, press, status
from tests.client.terminal import Terminal
from tests.support import Server, eventually

COMMENTS = ["one: write below", "", "user:", "Why?", "# A heading of the prompt"]


@pytest.mark.parametrize(
    "text", ["", "An answer.", "# A heading\n\ntext\n", "# -------- >8 --------\nit has one too\n"]
)
@pytest.mark.parametrize("sign", ["#", "//"])
def test_what_was_composed_comes_back_without_its_comments(text: str, sign: str) -> None:
    edited = composed(COMMENTS, text, sign)
    assert f"{sign} Why?" in edited.split("\n")
    assert without_comments(edited, COMMENTS, text, sign) == text
    assert without_comments(edited + "more", COMMENTS, text, sign) == text + "more"
    assert without_comments("all new", COMMENTS, text, sign) == "all new"


def test_a_reviewers_own_headings_are_not_comments() -> None:
    edited = composed(COMMENTS, "An answer.", "#").replace("An answer.", "# user:\n\n# A heading of the prompt")
    assert without_comments(edited, COMMENTS, "An answer.", "#") == "# user:\n\n# A heading of the prompt"


def test_comments_without_their_last_line_are_removed_while_they_are_whole() -> None:
    edited = composed(COMMENTS, "An answer.", "#").split("\n")
    del edited[len(COMMENTS)]
    assert without_comments("\n".join(edited), COMMENTS, "An answer.", "#") == "An answer."
    del edited[0]
    with pytest.raises(CommentsLeft, match=">8"):
        without_comments("\n".join(edited), COMMENTS, "An answer.", "#")


def test_the_prompt_and_why_it_failed_are_seen_in_the_editor_and_are_not_submitted(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    seen = editor.parent / "seen"
    editor.write_text(f'#!/bin/sh\nsleep 0.01; cp "$1" {seen}; echo "And more." >> "$1"\n')
    correct(terminal)
    one = candidate(reviewed, "one")
    assert one.corrected_response == f"{one.model_response}\nAnd more."
    assert "# Why is the sky blue, in case one?\n" in seen.read_text() and "# reason of one\n" in seen.read_text()
    assert "not JSON" in press(terminal, "t")
    assert "// Why is the sky blue, in case two?\n" in seen.read_text()


def test_comments_that_an_edit_has_torn_are_shown_again_and_nothing_is_submitted(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; sed -i "1d; />8/d" "$1"; echo "Typed." >> "$1"\n')
    assert "Remove them" in press(terminal, "c")
    assert status(reviewed, "one") == "needs_review"
    editor.write_text('#!/bin/sh\nsleep 0.01; grep -v "^#" "$1" > "$1.new"; mv "$1.new" "$1"\n')
    assert "one is corrected." in correct(terminal)
    one = candidate(reviewed, "one")
    assert one.corrected_response == f"{one.model_response}\nTyped."


def test_ctrl_c_in_the_editor_is_the_editors_own(terminal: Terminal, editor: Path) -> None:
    editor.write_text(
        '#!/bin/sh\ntrap "echo \\"CAUGHT IT\\"" INT\necho "IN THE EDITOR"; read _; read _; echo "New." > "$1"\n'
    )
    press(terminal, "c", "IN THE EDITOR")
    press(terminal, "\x03", "CAUGHT IT")
    press(terminal, "\n\n", "What was wrong?")
    press(terminal, ENTER, "one is corrected.")


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/no/such/interpreter\n"])
def test_an_editor_that_fails_changes_nothing(terminal: Terminal, reviewed: Server, editor: Path, script: str) -> None:
    editor.write_text(script)
    assert "EDITOR" in press(terminal, "c")
    assert status(reviewed, "one") == "needs_review"


def test_what_an_editor_saves_in_another_encoding_is_kept_and_named(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; printf "caf\\351\\n" > "$1"\n')
    screen = press(terminal, "c").replace("\r\n", "")
    assert "is not UTF-8" in screen
    kept = Path(re.findall(r"kept in (\S+/correction\.md)", screen)[0])
    assert kept.read_bytes() == b"caf\xe9\n"
    editor.write_text(f'#!/bin/sh\nsleep 0.01; echo "{TYPED}" > "$1"\n')
    assert "one is corrected." in correct(terminal)


def test_an_empty_text_is_not_submitted(terminal: Terminal, reviewed: Server, editor: Path) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; : > "$1"\n')
    assert "There is no text" in press(terminal, "c")
    press(terminal, ESCAPE)
    assert status(reviewed, "one") == "needs_review"


@pytest.mark.files("another program writes")
def test_a_long_prompt_is_cut_in_the_comments(terminal: Terminal, reviewed: Server, editor: Path) -> None:
    seen = editor.parent / "seen"
    editor.write_text(f'#!/bin/sh\nsleep 0.01; cp "$1" {seen}; echo "And more." >> "$1"\n')
    long = "".join(f"line {number}\\n" for number in range(5_000))
    text = reviewed.candidates.read_text()
    before = candidate(reviewed, "two").revision
    reviewed.candidates.write_text(text.replace("Why is the sky blue, in case two?", long))
    eventually(lambda: candidate(reviewed, "two").revision > before, within=60)
    press(terminal, "s")
    press(terminal, "c", "What was wrong?")
    assert len(seen.read_text().split("\n")) < 100 and "more characters" in seen.read_text()
