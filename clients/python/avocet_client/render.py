"""An example as the rows that trainers read: TRL's conversational formats and OpenAI's file format.

Messages come out as they stand in the record: content of parts or null, `tool_calls`, `name` and any other key.

- SFT: https://huggingface.co/docs/trl/dataset_formats#prompt-completion
- preference (DPO): https://huggingface.co/docs/trl/dataset_formats#preference
- unpaired preference (KTO): https://huggingface.co/docs/trl/dataset_formats#unpaired-preference
- OpenAI: https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word

Row = dict[str, Any]
Rendered = Row | list[Row] | None
Render = Callable[[pb.TrainingExample], Rendered]
"""What makes rows of an example: one, several, or none."""


def to_dict(example: pb.TrainingExample) -> Row:
    """All of the example: `id`, `messages`, `rejected` and `metadata`, where what the record lacks is "" or None."""
    metadata = example.metadata
    return {
        "id": example.id,
        "messages": [message_dict(message) for message in example.messages],
        "rejected": example.rejected,
        "metadata": {
            "source": metadata.source,
            "task_type": metadata.task_type,
            "model_name": metadata.model_name,
            "benchmark_run_id": metadata.benchmark_run_id,
            "failure_category": category_word(metadata),
            "label": metadata.label if metadata.HasField("label") else None,
            "quality_score": metadata.quality_score if metadata.HasField("quality_score") else None,
            "approved_revision": metadata.approved_revision,
        },
    }


def to_sft(example: pb.TrainingExample) -> Row:
    """`prompt` and `completion`, both lists of messages: TRL's SFTTrainer then learns the correction alone."""
    return {"prompt": _prompt(example), "completion": [_chosen(example)]}


def to_preference(example: pb.TrainingExample) -> Row | None:
    """`prompt`, `chosen` and `rejected`, lists of messages: for TRL's DPOTrainer.

    None where there is no pair: the model's own response is not known, or is what the correction says.
    """
    if not _has_pair(example):
        return None
    return {"prompt": _prompt(example), "chosen": [_chosen(example)], "rejected": [_rejected(example)]}


def to_kto(example: pb.TrainingExample) -> list[Row]:
    """`prompt`, `completion` and `label`: the correction as wanted, the model's own response as not: for KTOTrainer.

    The second row is left out where `to_preference` gives None.
    """
    rows: list[Row] = [{"prompt": _prompt(example), "completion": [_chosen(example)], "label": True}]
    if _has_pair(example):
        rows.append({"prompt": _prompt(example), "completion": [_rejected(example)], "label": False})
    return rows


def to_openai(example: pb.TrainingExample) -> Row:
    """`messages`, the correction last: a line of a file for OpenAI's supervised fine-tuning of chat models."""
    return {"messages": [*_prompt(example), _chosen(example)]}


def message_dict(message: pb.ChatMessage) -> Row:
    """A message as the record has it. One that is no object in the record stands as its `content`."""
    made: Row = {"role": message.role} if message.role else {}
    if message.HasField("content"):
        made["content"] = message.content
    elif message.content_json:
        made["content"] = json.loads(message.content_json)
    return made | (json.loads(message.extra_json) if message.extra_json else {})


def rows(render: Render, example: pb.TrainingExample) -> list[Row]:
    """The rows that `render` makes of the example, as a list."""
    rendered = render(example)
    if rendered is None:
        return []
    return rendered if isinstance(rendered, list) else [rendered]


def _prompt(example: pb.TrainingExample) -> list[Row]:
    return [message_dict(message) for message in example.messages[:-1]]


def _chosen(example: pb.TrainingExample) -> Row:
    return message_dict(example.messages[-1])


def _rejected(example: pb.TrainingExample) -> Row:
    return {"role": "assistant", "content": example.rejected}


def _has_pair(example: pb.TrainingExample) -> bool:
    return bool(example.rejected) and example.rejected != example.messages[-1].content
