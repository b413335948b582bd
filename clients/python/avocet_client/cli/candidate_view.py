"""A candidate for people: what was asked, with which tools, what was answered, and how it was corrected."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel

from avocet_client.cli.screen import Line, text
from avocet_client.messages import Message, message_dict, response_dict, text_of
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word, status_word

MOST_COUNTED = 100
"""`Candidate.same_prompt` counts no further."""


def candidate_panel(candidate: pb.Candidate) -> RenderableType:
    """Return the candidate whole."""
    parts: list[RenderableType] = [text(_facts(candidate), style="dim")]
    if candidate.tools_json:
        parts += _section("tools", "cyan", "\n".join(map(_tool, json.loads(candidate.tools_json))))
    for message in candidate.prompt_messages:
        parts += _section(message.role or "message", "cyan", shown(message_dict(message)))
    if candidate.prompt_json:
        parts += _section("the prompt, of a form that is not read", "cyan", _pretty(candidate.prompt_json))
    parts += _section("the model's response", "yellow", _response(candidate))
    if candidate.failure_reason:
        parts += _section("why it failed", "red", candidate.failure_reason)
    if candidate.HasField("corrected_message"):
        parts += _section("the correction", "green", shown(message_dict(candidate.corrected_message)))
    elif candidate.HasField("corrected_response"):
        parts += _section("the correction", "green", candidate.corrected_response)
    return Group(Line(candidate.id, style="bold"), Panel(Group(*parts)))


def shown(message: Message) -> str:
    """Return what a message says: its text, its calls as `name(arguments)`, and its further keys."""
    content = message.get("content")
    others = [part for part in content if not text_of([part])] if isinstance(content, list) else []
    said = [text_of(content)] if text_of(content) else []
    if content is not None and not isinstance(content, str | list):
        others = [content]
    said += [json.dumps(part, ensure_ascii=False) for part in others]
    said += [_call(call) for call in message.get("tool_calls") or ()]
    rest = {key: value for key, value in message.items() if key not in ("role", "content", "tool_calls")}
    said += [f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in rest.items()]
    return "\n".join(said)


def _facts(candidate: pb.Candidate) -> str:
    facts = {
        "status": status_word(candidate) or "another program's word",
        "category": category_word(candidate) or "",
        "source": candidate.source,
        "task": f"{candidate.task_type} {candidate.task_name}".strip(),
        "model": candidate.model_name,
        "quality": f"{candidate.quality_score:.2f}" if candidate.HasField("quality_score") else "",
        "decided": f"{candidate.reviewed_at} {candidate.reviewed_by}".strip(),
        "asked again": _others(candidate.same_prompt),
        "revision": str(candidate.revision),
    }
    return "  ".join(f"{name}: {value}" for name, value in facts.items() if value)


def _others(same_prompt: int) -> str:
    most = " or more" if same_prompt == MOST_COUNTED else ""
    return f"{same_prompt}{most} other candidates" if same_prompt else ""


def _response(candidate: pb.Candidate) -> str:
    message = response_dict(candidate.model_response, candidate.model_response_json)
    return shown(message) if message else ""


def _section(title: str, color: str, content: str) -> list[RenderableType]:
    return [text(f"\n{title}", style=f"bold {color}"), text(content)]


def _tool(tool: Any) -> str:
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return json.dumps(tool, ensure_ascii=False)
    parameters = json.dumps(function["parameters"], ensure_ascii=False) if "parameters" in function else ""
    about = f": {function['description']}" if function.get("description") else ""
    return f"{function['name']}({parameters}){about}"


def _call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return json.dumps(call, ensure_ascii=False)
    arguments = function.get("arguments", "")
    return f"{function['name']}({arguments if isinstance(arguments, str) else json.dumps(arguments)})"


def _pretty(json_text: str) -> str:
    return json.dumps(json.loads(json_text), indent=2, ensure_ascii=False)
