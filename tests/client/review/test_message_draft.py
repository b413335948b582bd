"""A correction that is typed as a message with tool calls."""

from __future__ import annotations

import json

import pytest

from avocet_client.cli.review.message_draft import read_message, template
from avocet_client.v1 import corrections_pb2 as pb


@pytest.mark.parametrize(
    "typed",
    [
        '{"role": 5, "content": "a"}',
        '{"role": "assistant", "content": [{"type": "text", "text": "a"}]}',
        '{"role": "assistant", "content": null, "tool_calls": NaN}',
        '{"role": "assistant", "content": "\\ud83d"}',
    ],
    ids=["role", "parts", "NaN", "half a character"],
)
def test_what_is_no_message_is_said_in_words(typed: str) -> None:
    with pytest.raises(ValueError, match="That is not a message"):
        read_message(typed)


def test_the_template_of_a_response_in_parts_is_a_message() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    response = {"content": [{"type": "text", "text": "Let me look."}], "tool_calls": calls}
    candidate = pb.Candidate(id="a", model_response_json=json.dumps(response))
    assert read_message(template(candidate)) == {"role": "assistant", "content": "Let me look.", "tool_calls": calls}
