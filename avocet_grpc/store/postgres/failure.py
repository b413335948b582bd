"""What an error of PostgreSQL means, by its SQLSTATE."""

from __future__ import annotations

import enum

import psycopg

from avocet_grpc.core.errors import CorrectionsError, Overloaded, StorageFull


class Meaning(enum.Enum):
    """What to do about an error."""

    AGAIN = "run the works again"
    LOST = "take another connection, and look what became of the works"
    REFUSED = "nothing was stored, and the callers learn why"
    WORK = "a work is at fault"


AGAIN = frozenset({"40001", "40P01"})
LOST = frozenset({"25006", "25P03", "25P04", "57P01", "57P02", "57P03", "57P04", "57P05"})
"""A standby, a transaction that took too long, a server that stops, has crashed or starts, a database that is gone."""
FULL = frozenset({"53100"})
BUSY = frozenset({"53000", "53200", "53300", "55P03", "57014"})
"""Too little memory, too many connections, a lock that did not come, a statement that took too long or was ended."""
DAMAGED = frozenset({"58030", "XX001", "XX002"})
"""The system's I/O error, and damaged data or indexes."""


def meaning(error: psycopg.Error) -> Meaning:
    """Return what to do about an error."""
    code = error.sqlstate
    if code is None:
        return Meaning.LOST if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else Meaning.WORK
    if code in AGAIN:
        return Meaning.AGAIN
    if code in LOST or code.startswith("08"):
        return Meaning.LOST
    if code in FULL | BUSY | DAMAGED or code.startswith("28"):
        return Meaning.REFUSED if code in FULL | BUSY else Meaning.LOST
    return Meaning.WORK


def refusal(error: psycopg.Error) -> CorrectionsError:
    """Return what callers get for an error whose meaning is REFUSED."""
    if error.sqlstate in FULL:
        return StorageFull("the database's disk is full")
    return Overloaded("the database has too much to do")


def text_of(error: psycopg.Error) -> str:
    """Return the first line of an error, for the log."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
