"""The few words in which SQL engines differ, and what the shared statements need of a connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Row = TypeVar("Row", bound=tuple[Any, ...])
"""A NamedTuple whose fields are the columns that the statement selects, in order."""

NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's spelling. Statements name their parameters `:name`; the session turns them into the engine's form."""

    blob: str
    """The type of bytes."""
    text: str
    """The type of text that is compared byte by byte."""
    row_number: str
    """The type of an integer that is a table's primary key."""
    clustered: str
    """After a table: keep its rows in the order of its primary key, if the engine can."""
    scan: str
    """After a table's name: read the table itself, whatever indexes there are."""
    by_index: str
    """After a table's name: go by this index and no other, if the engine can be told; `{0}` is the index's name."""
    joined_lines: str
    """All texts of a group, each with a newline behind it, as bytes; `{0}` is the expression."""
    joined_bytes: str
    """All byte strings of a group, one behind the other; `{0}` is the expression."""


class Session(Protocol):
    """A connection, inside a transaction. Every method raises the engine's own errors."""

    @property
    def dialect(self) -> Dialect:
        """The engine's spelling."""

    def now(self) -> float:
        """The store's clock: Unix time in seconds."""

    def each(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Iterator[Row]:
        """The rows of a query, one after the other."""

    def all(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """All rows of a query."""

    def one(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Row | None:
        """The first row of a query."""

    def number(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        """The only value of a query."""

    def execute(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        """Run a statement. Returns how many rows it changed."""

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]], on_conflict: str = "") -> None:
        """Insert NamedTuples; their fields name the columns. `on_conflict` ends the statement."""
