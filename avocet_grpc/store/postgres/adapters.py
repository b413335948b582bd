"""How values go to PostgreSQL and come back.

- Text: PostgreSQL refuses U+0000. It is written as two characters U+0001, and U+0001 as U+0001 U+0002, everywhere, in
  filters too. The order of texts stays what it was.
- Integers are always 64 bits, so that a statement has one plan, whatever the numbers are.
- A sum of 64-bit integers comes as `numeric`; here it is an integer again.
"""

from __future__ import annotations

from typing import Any

from psycopg import adapt
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader, NumericLoader
from psycopg.types.string import StrBinaryDumper, TextBinaryLoader, TextLoader

ESCAPE = "\x01"
INDEXED_CHARACTERS = 500
"""Longer texts do not fit into an index entry of PostgreSQL."""


def escaped(text: str) -> str:
    """Return the text as PostgreSQL can keep it."""
    if ESCAPE not in text and "\0" not in text:
        return text
    return text.replace(ESCAPE, ESCAPE + "\x02").replace("\0", ESCAPE + ESCAPE)


def unescaped(text: str) -> str:
    """Return the text as it was before `escaped`. Text that was cut off inside an escape loses that character."""
    if ESCAPE not in text:
        return text
    first, *rest = text.split(ESCAPE)
    parts, after = [first], iter(rest)
    for part in after:
        if part.startswith("\x02"):
            parts.append(ESCAPE + part[1:])
        elif not part:
            parts.append("\0" + next(after, ""))
    return "".join(parts)


class _Text(StrBinaryDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(escaped(obj))


class _TextLoader(TextLoader):
    def load(self, data: Any) -> Any:
        return unescaped(str(super().load(data)))


class _TextBinaryLoader(TextBinaryLoader):
    def load(self, data: Any) -> Any:
        return unescaped(str(super().load(data)))


class _IntegerLoader(NumericLoader):
    def load(self, data: Any) -> Any:
        return int(super().load(data))


class _IntegerBinaryLoader(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        return int(super().load(data))


def register(adapters: AdaptersMap) -> None:
    """Have a connection use these."""
    adapters.register_dumper(str, _Text)
    adapters.register_dumper(int, Int8BinaryDumper)
    loaders: tuple[type[adapt.Loader], ...] = (_TextLoader, _TextBinaryLoader)
    for loader in loaders:
        adapters.register_loader("text", loader)
    for loader in (_IntegerLoader, _IntegerBinaryLoader):
        adapters.register_loader("numeric", loader)
