"""Records that other programs append to the two shared files, as the service takes them in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from avocet_client.testing.forms import is_exportable
from avocet_client.testing.lines import MAX_ID, MAX_NESTING, Record, content_of, is_deeper, is_id
from avocet_client.testing.store import Noted, Store
from avocet_client.v1 import corrections_pb2 as pb


def checked(candidates: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Return copies of the records. Raises ValueError, naming the first that the service would call malformed."""
    return [_checked(f"candidates[{i}]", candidate) for i, candidate in enumerate(candidates)]


def take_in(store: Store, record: Record, *, noted: bool = True) -> None:
    """Take in a record behind those of its file: of an approved one, both files get a line.

    In the candidates file the first line of an id stays the record. Of approved lines the last exportable one counts.
    The others are counted as duplicates.
    """
    id, revision = record["id"], 0
    if (known := store.items.get(id)) is None:
        revision = store.put(record, "add", noted=noted, external=True).revision
    elif not _was_before(record, known.record, _versions(store, id)):
        store.duplicates[pb.SHARED_FILE_CANDIDATES, id] += 1
    if record.get("status") == "approved":
        _take_in_approved(store, record, revision, noted=noted)


def _take_in_approved(store: Store, record: Record, revision: int, *, noted: bool) -> None:
    id = record["id"]
    approvals = [each for each in store.approvals if each.record["id"] == id]
    now = next((each.record for each in approvals if not each.removed), None)
    if _was_before(record, now, [each.record for each in approvals]):
        # A slow writer may still have a version that the service has taken out or replaced.
        return
    if now is not None:
        store.duplicates[pb.SHARED_FILE_APPROVED, id] += 1
        if _is_same(now, record) or (is_exportable(now) and not is_exportable(record)):
            return
    revision = revision or store.next_revision()
    store.approve(record, revision)
    if noted:
        action, at = "add" if now is None else "edit", store.clock.now()
        file = pb.SHARED_FILE_APPROVED
        store.changes.append(Noted(revision, id, action, "", at, now, record, external=True, file=file))


def _versions(store: Store, id: str) -> list[Record]:
    changes = [each for each in store.changes if each.id == id and each.file == pb.SHARED_FILE_CANDIDATES]
    return [record for each in changes for record in (each.before, each.after) if record is not None]


def _was_before(record: Record, now: Record | None, versions: Iterable[Record]) -> bool:
    """Return True for the content of an earlier version, which is not the present one."""
    if now is not None and _is_same(now, record):
        return False
    return any(_is_same(version, record) for version in versions)


def _is_same(one: Record, other: Record) -> bool:
    return content_of(one) == content_of(other)


def _checked(name: str, candidate: Any) -> Record:
    try:
        text = json.dumps(candidate)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON ({error}): {candidate!r:.200}") from None
    if is_deeper(text):
        raise ValueError(f"{name} nests deeper than {MAX_NESTING}")
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"{name} is not a JSON object: {text:.200}")
    if not is_id(record.get("id")):
        problem = f"has no id that is a string of 1 to {MAX_ID} characters of valid Unicode, none of them NUL"
        raise ValueError(f"{name} {problem}: {text:.200}")
    return record
