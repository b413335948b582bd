"""Rows of the index as SQL has them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from avocet_grpc.mirror.lines import Kind, Mark, Order, Row

COLUMNS = (
    "kind, id, content, digest, offset, length, order_key, order_number, revision, written_at, is_exportable, mark, key"
)
"""What `row_of` takes, in this order."""
_ROW = "(?,?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT = (
    "INSERT INTO lines (file, kind, id, content, digest, offset, length, order_key, order_number, revision, written_at,"
    f" is_exportable, mark) VALUES {_ROW}"
)
"""Takes the number of a file and the `values_of` one row."""
UPDATE = (
    "UPDATE lines SET kind = ?, id = ?, content = ?, digest = ?, offset = ?, length = ?, order_key = ?,"
    " order_number = ?, revision = ?, written_at = ?, is_exportable = ?, mark = ? WHERE key = ?"
)
"""Takes the `values_of` a row and its key."""


@lru_cache
def insert_statement(rows: int) -> str:
    """Return INSERT for so many rows; it takes the values of each in turn."""
    return INSERT + f",{_ROW}" * (rows - 1)


def values_of(row: Row) -> tuple[object, ...]:
    """Return the values of a row as INSERT and UPDATE take them, all but its file and its key."""
    # Plain integers: the driver asks each other type how it is to be stored.
    return (
        int(row.kind),
        row.id,
        row.content,
        row.digest,
        row.offset,
        row.length,
        *row.order,
        row.revision,
        row.written_at,
        int(row.is_exportable),
        int(row.mark),
    )


def row_of(values: tuple[Any, ...]) -> Row:
    """Return the row of these COLUMNS."""
    kind, id, content, digest, offset, length, order_key, number, revision, written_at, good, mark, key = values
    order = Order(order_key, number)
    what = Kind(kind), id, content, digest, offset, length, order, revision, written_at
    return Row(*what, is_exportable=bool(good), mark=Mark(mark), key=key)
