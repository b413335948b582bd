"""The few words in which SQL engines differ, and what the shared statements need of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
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
    counted: str
    """The same, if the engine gives each new row the next number."""
    clustered: str
    """After a table: keep its rows in the order of its primary key, if the engine can."""
    scan: str
    """After a table's name: read the table itself, whatever indexes there are."""
    by_index: str
    """After a table's name: go by this index and no other, if the engine can be told; `{0}` is the index's name."""
    alone: str
    """At the end of a subquery: evaluate it by itself, by what it asks for and not by what is done with its rows."""
    any_length: str
    """A text of any length as an index holds it; `{0}` is the text. Two texts never share it."""
    longest_indexed: int | None
    """How many characters of a text an index can hold; None: any number. Rows have no more of such texts."""
    example_size: str
    """The size of the example that `encoded` holds, as it was before it was packed."""
    lines_apart: bool
    """Whether it is cheaper to read the keys of a page and then its lines than both in one statement."""
    finds_places: bool
    """Whether an index leads straight to `(column, key) > (a, b)`. SQLite uses only `column >= a` of it if `key` is the
    table's own key, and reads every row whose column is `a`."""
    indexes_last: bool
    """Whether a large load drops the indexes and makes them again at its end; other connections must not be hurt."""


class Lines(Protocol):
    """How an engine stores the lines of records, and encoded examples, whose size is not stored beside them."""

    def packed(self, line: bytes) -> bytes:
        """Return a line as it is stored; its size is stored beside it."""

    def packer(self, lines: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """Return what gives these lines as they are stored. Any thread may call it, until the lines learn again."""

    def unpacked(self, size: int, stored: bytes) -> bytes:
        """Return a stored line. Raises the engine's own error if it is not what was stored."""

    def packed_example(self, encoded: bytes) -> bytes:
        """Return an encoded example as it is stored."""

    def unpacked_example(self, stored: bytes) -> bytes:
        """Return a stored example. Raises the engine's own error if it is not what was stored."""

    def learn(self, last_key: int) -> None:
        """A large change has stored lines up to this key: those to come may be stored in a better way."""


class PlainLines:
    """Implements `Lines`: each is stored as it is."""

    def packed(self, line: bytes) -> bytes:
        return line

    def packer(self, lines: Sequence[bytes]) -> Callable[[], list[bytes]]:
        return lambda: [*lines]

    def unpacked(self, size: int, stored: bytes) -> bytes:
        return stored

    def packed_example(self, encoded: bytes) -> bytes:
        return encoded

    def unpacked_example(self, stored: bytes) -> bytes:
        return stored

    def learn(self, last_key: int) -> None:
        pass


class Session(Protocol):
    """A connection, inside a transaction. Every method raises the engine's own errors."""

    @property
    def dialect(self) -> Dialect:
        """The engine's spelling."""

    @property
    def lines(self) -> Lines:
        """How lines of records are stored."""

    def now(self) -> float:
        """Return the store's clock: Unix time in seconds."""

    def each(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Iterator[Row]:
        """Return the rows of a query, one after the other."""

    def all(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Return all rows of a query."""

    def one(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Row | None:
        """Return the first row of a query."""

    def integers(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        """Return all rows of a query whose columns are integers and named as the fields of `kind`, in any order."""

    def stored_lines(self, keys: Sequence[int]) -> list[bytes]:
        """Return the lines of these rows of `bodies` as they are stored, in the order of the keys."""

    def number(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        """Return the only value of a query."""

    def execute(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        """Run a statement. Returns how many rows it changed."""

    def batch(self) -> AbstractContextManager[None]:
        """Statements inside may go out together, so that none of them gives an answer. Nests."""

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]], on_conflict: str = "") -> None:
        """Insert NamedTuples; their fields name the columns. `on_conflict` ends the statement."""
