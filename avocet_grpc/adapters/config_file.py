"""`label_tool.yaml`, which the legacy app reads and writes too."""

from __future__ import annotations

import contextlib
import io
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from avocet_grpc.adapters.rewriting import BeingWritten, change, read_settled
from avocet_grpc.core.errors import ConfigUnreadable, StorageFull
from avocet_grpc.durable import NO_ROOM
from avocet_grpc.foreign_files import Unreadable, parse_yaml

NAME = "label_tool.yaml"
BYTE_ORDER_MARK = "\ufeff"
SECTION = "sft"
KEY = "bench_results_dir"
READ_WAIT_S = 1.0
"""How long a reading waits for a program that writes the file."""


class YamlConfigFile:
    """Implements `core.ports.ConfigFile` on `<config_dir>/label_tool.yaml`."""

    def __init__(self, config_dir: Path) -> None:
        self._path = config_dir / NAME

    def bench_results_dir(self) -> str:
        """Return the value; empty if the key, or a readable file, is absent."""
        try:
            return _value_in(read_settled(self._path, READ_WAIT_S))
        except (OSError, ConfigUnreadable):
            return ""

    def set_bench_results_dir(self, value: str) -> None:
        """Change the key, and nothing else, in one rename. Raises ConfigUnreadable or StorageFull."""
        # A symlink stays one: the file that it names is replaced.
        path = Path(os.path.realpath(self._path))
        try:
            change(path, lambda content: _with_value(content, value))
        except BeingWritten as error:
            raise ConfigUnreadable("another program writes the config file", is_being_written=True) from error
        except Unreadable as error:
            raise ConfigUnreadable("the config file cannot be read") from error
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StorageFull from error
            raise ConfigUnreadable("the config file cannot be written") from error


@lru_cache(maxsize=1)
def _value_in(content: bytes) -> str:
    """Return the value; kept for the next reading of the same content. Raises ConfigUnreadable."""
    _, plain = _load(_editor(), _text(content).removeprefix(BYTE_ORDER_MARK))
    section = plain.get(SECTION)
    value = section.get(KEY) if isinstance(section, dict) else None
    return value if isinstance(value, str) else ""


def _with_value(content: bytes, value: str) -> bytes:
    text = _text(content)
    mark = text[:1] if text.startswith(BYTE_ORDER_MARK) else ""
    return (mark + _changed(text.removeprefix(mark), value)).encode()


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except ValueError as error:
        raise ConfigUnreadable("the config file is not UTF-8 text") from error


def _editor() -> YAML:
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 2**20
    return editor


def _changed(text: str, value: str) -> str:
    """Return the text with the key set, by changing a few characters if that works, else by writing all of it."""
    editor = _editor()
    content, plain = _load(editor, text)
    section = content.get(SECTION)
    if section is None:
        section = content[SECTION] = CommentedMap()
        plain[SECTION] = {}
    elif not isinstance(section, CommentedMap) or section.yaml_anchor() is not None:
        raise ConfigUnreadable(f"the key {SECTION} is not a mapping of its own")
    section[KEY] = plain[SECTION][KEY] = value
    with contextlib.suppress(Unreadable, yaml.YAMLError, IndexError, ValueError):
        spliced = _spliced(text, value)
        if parse_yaml(spliced) == plain:
            return spliced
    out = io.StringIO()
    editor.dump(content, out)
    return out.getvalue()


def _spliced(text: str, value: str) -> str:
    """Return the text with the value at the place of the old one; the caller checks the outcome."""
    quoted = "'" + value.replace("'", "''") + "'"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    section = _value_of(root, SECTION) if root is not None else None
    if isinstance(section, yaml.MappingNode) and section.flow_style and _value_of(section, KEY) is None:
        inside = section.start_mark.index + 1
        more = f", {text[inside:].lstrip(' ')}" if section.value else text[inside:]
        return f"{text[:inside]}{KEY}: {quoted}{more}"
    if section is not None and not section.value:
        # An empty mapping, or none at all.
        begin, end = section.start_mark.index, section.end_mark.index
        return text[:begin].rstrip(" ") + f" {{{KEY}: {quoted}}}" + text[end:]
    ending = "\r\n" if "\r\n" in text else "\n"
    if section is None:
        start = text if not text or text.endswith("\n") else text + ending
        return f"{start}{SECTION}:{ending}  {KEY}: {quoted}{ending}"
    if (old := _value_of(section, KEY)) is not None:
        begin, end = old.start_mark.index, old.end_mark.index
        gap = "" if text[begin - 1].isspace() else " "
        before = text[begin:end]
        # A value of several lines ends where the next thing begins.
        rest = before[len(before.rstrip()) :] if getattr(old, "style", None) in ("|", ">") else ""
        return text[:begin] + gap + quoted + rest + text[end:]
    first = section.value[0][0].start_mark
    return f"{text[: first.index]}{KEY}: {quoted}{ending}{' ' * first.column}{text[first.index :]}"


def _value_of(node: Any, key: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"no mapping to look up {key} in")
    return next((value for name, value in node.value if name.value == key), None)


def _load(editor: YAML, text: str) -> tuple[Any, Any]:
    """Return the content for the editor, and as PyYAML reads it: both must take the file."""
    try:
        plain = parse_yaml(text)
        content = editor.load(text)
    except Exception as error:
        # Either parser raises whatever comes up in it.
        raise ConfigUnreadable("the config file is not valid YAML, or its aliases make it too large") from error
    if plain is None:
        return CommentedMap(), {}
    if not isinstance(content, CommentedMap) or not isinstance(plain, dict):
        raise ConfigUnreadable("the config file is not a mapping")
    return content, plain
