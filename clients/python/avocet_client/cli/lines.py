"""Lines of a file that a person wrote: JSON objects, and what is wrong with one in words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any


def object_of(line: bytes, number: int) -> dict[str, Any]:
    """Return the object of a file's line, the `number`-th from 1; the first may begin with a byte order mark.

    Raises ValueError, which says what is wrong, if the line is not an object in JSON.
    """
    try:
        found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON at character {error.pos + 1}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def told(error: Exception) -> str:
    """Return what went wrong, for people."""
    if isinstance(error, UnicodeEncodeError):
        shown = ascii(error.object[max(0, error.start - 20) : error.end + 20])
        return f"{shown} cannot be sent as text: it has a byte that is not UTF-8, or half of a surrogate pair"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def check_names(stated: Mapping[str, Any], what: str, known: Collection[str], required: Collection[str]) -> None:
    """Raise ValueError if the object has a key that `what`, such as "a decision", lacks, or lacks a required one.

    A required one that is null is missing.
    """
    if unknown := sorted(set(stated) - set(known)):
        raise ValueError(f"it has {', '.join(unknown)}; {what} may have {', '.join(known)}")
    if missing := [name for name in required if stated.get(name) is None]:
        raise ValueError(f"it lacks {' and '.join(missing)}")
