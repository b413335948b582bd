"""An example as the rows that trainers read: TRL's conversational formats and OpenAI's file format.

Messages come out as they stand in the record: content of parts or null, `tool_calls`, `name` and any other key. The
values are those of strict JSON. A row has `tools` if the example has some.

- SFT: https://huggingface.co/docs/trl/dataset_formats#prompt-completion
- preference (DPO): https://huggingface.co/docs/trl/dataset_formats#preference
- unpaired preference (KTO): https://huggingface.co/docs/trl/dataset_formats#unpaired-preference
- tools: https://huggingface.co/docs/trl/dataset_formats#tool-calling
- OpenAI: https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import avocet_client.strict_json as strict_json
from avocet_client.messages import message_dict, response_dict, say_the_same
from avocet_client.openai_format import with_call_ids
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word

Row = dict[str, Any]
Rendered = Row | list[Row] | None
Render = Callable[[pb.TrainingExample], Rendered]
"""What makes rows of an example: one, several, or none."""


def to_dict(example: pb.TrainingExample) -> Row:
    """Return all of the example: `id`, `messages`, `rejected`, `rejected_json`, `tools` and `metadata`.

    What the record lacks is "" or None. `rejected_json` is JSON text, if the model's own response is not a string.
    """
    metadata = example.metadata
    return {
        "id": example.id,
        "messages": [message_dict(message) for message in example.messages],
        "rejected": example.rejected,
        "rejected_json": example.rejected_json,
        "tools": _tools(example).get("tools"),
        "metadata": {
            "source": metadata.source,
            "task_type": metadata.task_type,
            "model_name": metadata.model_name,
            "benchmark_run_id": metadata.benchmark_run_id,
            "failure_category": category_word(metadata),
            "label": metadata.label if metadata.HasField("label") else None,
            "quality_score": _finite(metadata),
            "approved_revision": metadata.approved_revision,
        },
    }


def to_sft(example: pb.TrainingExample) -> Row:
    """`prompt` and `completion`, both lists of messages: TRL's SFTTrainer then learns the correction alone."""
    return {"prompt": _prompt(example), "completion": [_chosen(example)]} | _tools(example)


def to_preference(example: pb.TrainingExample) -> Row | None:
    """`prompt`, `chosen` and `rejected`, lists of messages: for TRL's DPOTrainer.

    None without a pair: the model's own response is not known, or it says what the correction says. Two sides that
    differ only in Unicode form (NFC) or in blanks around the text say the same.
    """
    rejected = _rejected(example)
    if rejected is None:
        return None
    return {"prompt": _prompt(example), "chosen": [_chosen(example)], "rejected": [rejected]} | _tools(example)


def to_kto(example: pb.TrainingExample) -> list[Row]:
    """`prompt`, `completion` and `label`: the correction as wanted, the model's own response as not: for KTOTrainer.

    The second row is left out if `to_preference` gives None.
    """
    sides = [(_chosen(example), True), (_rejected(example), False)]
    return [
        {"prompt": _prompt(example), "completion": [side], "label": label} | _tools(example)
        for side, label in sides
        if side is not None
    ]


def to_openai(example: pb.TrainingExample) -> Row:
    """`messages`, the correction last: a line of a file for OpenAI's supervised fine-tuning of chat models.

    Only the correction is learned: it has `weight` 1, earlier turns of the assistant have 0. A tool call without an id
    gets one, and the tool's answer refers to it. `avocet_client.openai_format.faults` says what the format refuses.
    """
    prompt = [turn | {"weight": 0} if turn.get("role") == "assistant" else turn for turn in _prompt(example)]
    return {"messages": with_call_ids([*prompt, _chosen(example) | {"weight": 1}])} | _tools(example)


def rows(render: Render, example: pb.TrainingExample) -> list[Row]:
    """Return the rows that `render` makes of the example, as a list."""
    rendered = render(example)
    if rendered is None:
        return []
    return rendered if isinstance(rendered, list) else [rendered]


def _prompt(example: pb.TrainingExample) -> list[Row]:
    return [message_dict(message) for message in example.messages[:-1]]


def _chosen(example: pb.TrainingExample) -> Row:
    return message_dict(example.messages[-1])


def _rejected(example: pb.TrainingExample) -> Row | None:
    """Return the model's own response, if it makes a pair with the correction."""
    rejected = response_dict(example.rejected, example.rejected_json)
    return None if rejected is None or say_the_same(rejected, _chosen(example)) else rejected


def _finite(metadata: pb.TrainingMetadata) -> float | None:
    quality = metadata.quality_score
    return quality if metadata.HasField("quality_score") and math.isfinite(quality) else None


def _tools(example: pb.TrainingExample) -> Row:
    return {"tools": strict_json.loads(example.tools_json)} if example.tools_json else {}
