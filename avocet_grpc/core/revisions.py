"""Revisions that callers name: those to come, those of a ledger that was there before, and those not kept any more."""

from __future__ import annotations

from avocet_grpc.core.errors import InvalidField, RevisionExpired
from avocet_grpc.core.ports.ledger import Reader


def check_named(reader: Reader, field: str, revision: int, oldest: int = 0) -> None:
    """Check a revision that the request's `field` names.

    Raises InvalidField for one to come, RevisionExpired for one before `oldest` or of an earlier ledger.
    """
    newest = reader.revision()
    if revision > newest:
        raise InvalidField(field, f"is still to come; the newest revision is {newest}")
    check_kept(reader, revision, oldest)


def check_kept(reader: Reader, revision: int, oldest: int = 0) -> None:
    """Check a revision that a token of ours has: one to come is of an earlier ledger, too. Raises RevisionExpired."""
    if not oldest <= revision <= reader.revision() or not reader.is_own_revision(revision):
        raise RevisionExpired("the revision is no longer kept, or an earlier ledger gave it")
