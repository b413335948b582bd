"""Texts that cannot be drawn, in a real Chromium: no candidate is ever shown with the text of another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server, eventually, record, write_records
from tests.web.browser_programs import Program, page_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]
TOO_DEEP = {
    "bullets": "- " * 1_500,
    "stars": "* " * 1_500,
    "numbers": "1. " * 1_500,
    "quotes": "> " * 2_000,
    "both": "> - " * 800,
    "levels": "- " * 900,
    "stairs": "".join(f"{' ' * 2 * level}- step\n" for level in range(300)),
}
# If nothing ends it, each takes the Markdown parser, the blanks of raw text, or the browser with what was parsed
# many seconds or minutes.
TOO_SLOW = {
    "underscores": "_a" * 100_000,
    "address": "a." * 100_000 + "@",
    "rulers": "- - " * 50_000,
    "paragraphs": "a\n> b\n" * 40_000,
    "cells": "|a|b|\n|-|-|\n" + "|x|y|\n" * 70_000,
    "blanks": "x" + " " * 300_000 + "x",
    "pipes": "|" * 150_000 + "\n" + "|-" * 150_000,
}
FAILING = {"chip": "a chip fails for", "effect": "an effect fails for"}
MOST_MS = 8_000
"""Above what it takes on two busy processors, far below what it takes unbounded."""


def test_what_cannot_be_rendered_is_shown_raw_and_never_as_the_text_of_another_candidate(
    server: Server, tmp_path: Path
) -> None:
    hostile = {**TOO_DEEP, **FAILING}
    texts: dict[str, str] = {}
    for name, text in hostile.items():
        texts |= {f"good-{name}": f"The answer good-{name}.", name: f"{text} the answer of {name}"}
    texts["last"] = "The answer last."
    written = [record(id, model_response=text, prompt_messages=f"Ask {id}.") for id, text in texts.items()]
    next(each for each in written if each["id"] == "chip")["quality_score"] = 0.666
    write_records(server.candidates, written)
    eventually(lambda: server.stats().total == len(texts))
    with (
        page_of(server, tmp_path) as address,
        Program("unrenderable.mjs", address, AVOCET_IDS=" ".join(texts)) as browser,
    ):
        for id, text in texts.items():
            expected = [] if id == "chip" else [f"Ask {id}.", text]
            assert browser.said() == ["shown", id, expected]
            if expected:
                assert browser.said() == ["raw, preview", expected, text]
        for id, text in texts.items():
            assert browser.said() == ["behind its link", id, [] if id == "chip" else [f"Ask {id}.", text]]
        assert browser.said()[:3] == ["seen", [], []]
    assert dict(server.stats().by_status) == {"needs_review": len(texts)}


def test_texts_that_take_long_to_render_freeze_nothing(server: Server, tmp_path: Path) -> None:
    texts = {id: f"{text} of {id}" for id, text in TOO_SLOW.items()}
    written = [record(id, model_response=text, prompt_messages=f"Ask {id}.") for id, text in texts.items()]
    write_records(server.candidates, written)
    eventually(lambda: server.stats().total == len(texts), within=60)
    with page_of(server, tmp_path) as address, Program("slow.mjs", address, AVOCET_IDS=" ".join(texts)) as browser:
        for id, text in texts.items():
            assert browser.said() == ["shown", id, len(text)]
            where, took = browser.said()
            assert where == "took" and max(took.values()) < MOST_MS, f"{id}: {took}"
        assert browser.said() == ["seen", [], [], []]


def test_a_message_without_content_shows_its_tool_calls_alone(server: Server, tmp_path: Path) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "time", "arguments": "{}"}}]
    openai = [
        {"role": "user", "content": "Ask openai."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "user", "content": "null"},
    ]
    sharegpt = [
        {"from": "human", "value": "Ask sharegpt."},
        {"from": "function_call", "value": '{"name": "time", "arguments": {}}'},
    ]
    prompts: dict[str, Any] = {"openai": openai, "sharegpt": sharegpt}
    written = [record(id, model_response="Noon.", prompt_messages=prompt) for id, prompt in prompts.items()]
    write_records(server.candidates, written)
    eventually(lambda: server.stats().total == len(written))
    with (
        page_of(server, tmp_path) as address,
        Program("unrenderable.mjs", address, AVOCET_IDS="openai sharegpt") as shown,
    ):
        texts = shown.said()[2]
        assert (texts[0], texts[2:]) == ("Ask openai.", ["null", "Noon."])
        assert json.loads(texts[1]) == {"tool_calls": calls}
        shown.said()
        texts = shown.said()[2]
        assert (texts[0], texts[2:]) == ("Ask sharegpt.", ["Noon."])
        assert json.loads(texts[1])["tool_calls"][0]["function"]["name"] == "time"
