"""What a request's fields are held to; each refusal is an InvalidField that names the field."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from avocet_grpc.core.errors import InvalidField

MAX_TEXT = 4_000_000
MAX_STRING = 1_000
MAX_REQUEST_ID = 128
MAX_LIST = 1_000
MAX_PAGE = 500

W = TypeVar("W")


def page_size(field: str, size: int, default: int) -> int:
    """Return how many items a page has; 0 is the default, and what is too many is the most. Raises InvalidField."""
    not_negative(field, size)
    return min(size, MAX_PAGE) or default


def known(field: str, words: Mapping[int, W], number: int, problem: str) -> W:
    """Return the word of an enum's number. Raises InvalidField."""
    if number not in words:
        raise InvalidField(field, problem)
    return words[number]


def short_list(field: str, values: Iterable[W], most: int = MAX_LIST) -> tuple[W, ...]:
    """Return the values of a list that is not too long. Raises InvalidField."""
    # Each value becomes a parameter of a statement, and engines bound their number.
    items = tuple(values)
    if len(items) > most:
        raise InvalidField(field, f"must have at most {most:,} values")
    return items


def strings(field: str, values: Iterable[str], most: int = MAX_LIST, longest: int = MAX_STRING) -> tuple[str, ...]:
    """Return the strings of a list that is not too long, none of them too long. Raises InvalidField."""
    items = short_list(field, values, most)
    for i, value in enumerate(items):
        at_most(f"{field}[{i}]", value, longest)
    return items


def request_id(value: str) -> str:
    """Return an idempotency key. Raises InvalidField."""
    at_most("request_id", value, MAX_REQUEST_ID)
    return value


def at_most(field: str, value: str, limit: int) -> None:
    """Refuse a string of more characters. Raises InvalidField."""
    if len(value) > limit:
        raise InvalidField(field, f"must have at most {limit:,} characters; it has {len(value):,}")


def not_blank(field: str, value: str) -> None:
    """Refuse a string without anything but white space. Raises InvalidField."""
    if not value.strip():
        raise InvalidField(field, "must not be blank")


def not_negative(field: str, value: int) -> None:
    """Refuse a number below 0. Raises InvalidField."""
    if value < 0:
        raise InvalidField(field, "must not be negative")


def in_range(field: str, value: int, numbers: range) -> int:
    """Return the number if it is in the range; the error names both ends, inclusive. Raises InvalidField."""
    if value not in numbers:
        raise InvalidField(field, f"must be from {numbers[0]:,} to {numbers[-1]:,}")
    return value


def at_least_one(field: str, values: Collection[object]) -> None:
    """Refuse an empty list. Raises InvalidField."""
    if not values:
        raise InvalidField(field, "must have at least one value")
