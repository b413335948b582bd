"""`label_tool.yaml`, which the legacy app reads and writes too."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from avocet_grpc.core.errors import ConfigUnreadable

NAME = "label_tool.yaml"
SECTION = "sft"
KEY = "bench_results_dir"


class YamlConfigFile:
    """Implements `core.ports.ConfigFile` on `<config_dir>/label_tool.yaml`."""

    def __init__(self, config_dir: Path) -> None:
        self._path = config_dir / NAME

    def bench_results_dir(self) -> str:
        """The value; empty where the key, or a readable file, is absent."""
        try:
            content = yaml.safe_load(self._path.read_bytes())
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return ""
        section = content.get(SECTION) if isinstance(content, dict) else None
        value = section.get(KEY) if isinstance(section, dict) else None
        return value if isinstance(value, str) else ""

    def set_bench_results_dir(self, value: str) -> None:
        """Change the key, and nothing else, in one rename. Raises ConfigUnreadable or OSError."""
        # A symlink stays one: the file that it names is replaced.
        path = Path(os.path.realpath(self._path))
        editor = YAML(typ="rt")
        editor.preserve_quotes = True
        editor.width = 2**20
        text = self._text(path)
        content = _load(editor, text)
        section = content.get(SECTION)
        if section is None:
            section = content[SECTION] = CommentedMap()
        elif not isinstance(section, dict):
            raise ConfigUnreadable(f"the key {SECTION} is no mapping")
        section[KEY] = value
        out = io.StringIO()
        editor.dump(content, out)
        result = out.getvalue()
        if not content_is_new(text) and text is not None and not _mapping_in(text):
            result = text.rstrip("\n") + "\n" + result
        _replace(path, result.encode())

    @staticmethod
    def _text(path: Path) -> str | None:
        try:
            return path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigUnreadable("the config file is no UTF-8 text") from error


def content_is_new(text: str | None) -> bool:
    """True where there is no file, or nothing but white space in it."""
    return text is None or not text.strip()


def _mapping_in(text: str) -> bool:
    return yaml.safe_load(text) is not None


def _load(editor: YAML, text: str | None) -> Any:
    try:
        # safe_load too: both parsers must take the file, or GetConfig could not read what SetConfig wrote.
        plain = yaml.safe_load(text or "")
        content = editor.load(text or "")
    except (YAMLError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigUnreadable("the config file is no valid YAML") from error
    if plain is None:
        return CommentedMap()
    if not isinstance(content, CommentedMap):
        raise ConfigUnreadable("the config file is no mapping")
    return content


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            with contextlib.suppress(FileNotFoundError):
                old = os.stat(path)
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
