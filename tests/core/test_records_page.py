"""The page on records of other programs says what is done with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from avocet_grpc.core.forms import Unexportable, prompt_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "records.md").read_text()
BLOCKS = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
EXAMPLES = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_a_prompt_of_the_page_is_served_as_the_page_shows(number: int) -> None:
    record, served = EXAMPLES[number]
    assert prompt_of(record) == served


def test_the_page_has_an_example_of_each_form_and_names_each_reason() -> None:
    assert len(EXAMPLES) >= 5
    assert all(f"`{reason}`" in PAGE for reason in Unexportable)
