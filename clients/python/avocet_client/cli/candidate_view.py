"""A candidate for people: what was asked, with which tools, what was answered, and how it was corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel

from avocet_client.cli.screen import Line, one_line, text, visible
from avocet_client.messages import Message, message_dict, response_dict, text_of
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word, counted, status_word

Section = tuple[str, str, str]
"""A title, its colour, and a text."""
FAILED = "why it failed"
LINE_LENGTH = 100
"""Characters of a line on the screen, more or less: a text without ends of lines is long, too."""
MOST_COMMENTED = 40
MOST_COUNTED = 100
"""`Candidate.same_prompt` counts no further."""


def candidate_panel(candidate: pb.Candidate, most_lines: int = 0) -> RenderableType:
    """Return the candidate, with at most so many lines of each of its texts; 0 is all of them."""
    parts: list[RenderableType] = [text(_facts(candidate), style="dim")]
    for title, color, content in [*_asked(candidate), *_answered(candidate)]:
        shown_part = _cut(content, most_lines) if most_lines else content
        parts += [text(f"\n{title}", style=f"bold {color}"), text(shown_part)]
    return Group(Line(candidate.id, style="bold"), Panel(Group(*parts)))


def context_lines(candidate: pb.Candidate) -> list[str]:
    """Return the lines that say what a correction is about, for comments beside it: the prompt, and why it failed."""
    lines = [f"{one_line(candidate.id)}: write the correction below the last of these lines."]
    sections = [*_asked(candidate), *(each for each in _answered(candidate) if each[0] == FAILED)]
    for title, _, content in sections:
        lines += ["", f"{title}:", *visible(_cut(content, MOST_COMMENTED)).split("\n")]
    return lines


def shown(message: Message) -> str:
    """Return what a message says: its text, its calls as `name(arguments)`, and its further keys."""
    content = message.get("content")
    others = [part for part in content if not text_of([part])] if isinstance(content, list) else []
    said = [text_of(content)] if text_of(content) else []
    if content is not None and not isinstance(content, str | list):
        others = [content]
    said += [json.dumps(part, ensure_ascii=False) for part in others]
    calls = message.get("tool_calls") or []
    said += [_call(call) for call in (calls if isinstance(calls, list) else [calls])]
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
    if same_prompt == MOST_COUNTED:
        return f"{same_prompt} or more other candidates"
    return counted(same_prompt, "other candidate") if same_prompt else ""


def _response(candidate: pb.Candidate) -> str:
    message = response_dict(candidate.model_response, candidate.model_response_json)
    return shown(message) if message else ""


def _asked(candidate: pb.Candidate) -> Iterator[Section]:
    if candidate.tools_json:
        yield "tools", "cyan", "\n".join(map(_tool, json.loads(candidate.tools_json)))
    for message in candidate.prompt_messages:
        yield message.role or "message", "cyan", shown(message_dict(message))
    if candidate.prompt_json:
        yield "the prompt, of a form that is not read", "cyan", _pretty(candidate.prompt_json)


def _answered(candidate: pb.Candidate) -> Iterator[Section]:
    yield "the model's response", "yellow", _response(candidate)
    if candidate.failure_reason:
        yield FAILED, "red", candidate.failure_reason
    if candidate.HasField("corrected_message"):
        yield "the correction", "green", shown(message_dict(candidate.corrected_message))
    elif candidate.HasField("corrected_response"):
        yield "the correction", "green", candidate.corrected_response


def _cut(content: str, most_lines: int) -> str:
    """Return the beginning of a text, and how much is left out."""
    lines = content[: most_lines * LINE_LENGTH].split("\n")[:most_lines]
    beginning = "\n".join(lines)
    if len(beginning) == len(content):
        return content
    return f"{beginning}\n... {counted(len(content) - len(beginning), 'more character')}"


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
