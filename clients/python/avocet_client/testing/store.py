"""What the in-memory service holds: records, approvals, changes, claims, and a clock that a test may set."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

from avocet_client.testing.forms import text_of
from avocet_client.testing.lines import Record, content_of, without_surrogates
from avocet_client.testing.refusals import Refusal, invalid
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CHANGE_ACTIONS

M = TypeVar("M", bound=Message)


class Clock:
    """The service's time, Unix seconds: the machine's, and what a test adds to it."""

    def __init__(self) -> None:
        self._added = 0.0

    def now(self) -> float:
        return time.time() + self._added

    def advance(self, seconds: float) -> None:
        """Let time pass, so that leases and postponements end."""
        self._added += seconds

    def iso(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat()


@dataclass
class Item:
    """A candidate. `key` is its place in the order of first sight."""

    key: int
    record: Record
    revision: int


@dataclass
class Approval:
    """An approved record, from the revision that approved it until the one that took it back (0: never)."""

    record: Record
    revision: int
    removed: int = 0

    def at(self, revision: int) -> bool:
        return self.revision <= revision and not 0 < self.removed <= revision


@dataclass
class Noted:
    """A change of a record: the record before (None: there was none) and after."""

    revision: int
    id: str
    action: str
    actor: str
    at: float
    before: Record | None
    after: Record
    external: bool = False
    """Whether another program made it, by way of the shared files."""
    file: pb.SharedFile.ValueType = pb.SHARED_FILE_CANDIDATES

    @property
    def names(self) -> list[str]:
        if self.before is None:
            return []
        keys = {**self.before, **self.after}
        both = self.before.keys() & self.after.keys()
        # NaN is not equal to itself.
        return [key for key in keys if key not in both or content_of(self.before[key]) != content_of(self.after[key])]


@dataclass
class Claim:
    """A claim of a candidate."""

    lease_id: str
    id: str
    reviewer: str
    expires_at: float


@dataclass
class Store:
    """The state of one service."""

    clock: Clock = field(default_factory=Clock)
    revision: int = 0
    items: dict[str, Item] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    changes: list[Noted] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)
    """By candidate id."""
    postponed: dict[tuple[str, str], float] = field(default_factory=dict)
    """Until when a reviewer's claims leave a candidate out, by reviewer and candidate id."""
    remembered: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """The content and the answer of each request id."""
    snapshots: dict[str, pb.Snapshot] = field(default_factory=dict)
    runs: dict[str, list[bytes]] = field(default_factory=dict)
    """The lines of each benchmark run."""
    duplicates: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Further lines of an id in a shared file, by file and id."""
    bench_results_dir: str = ""

    def __post_init__(self) -> None:
        self.revision = self.floor = int(self.clock.now() * 1_000_000)

    def next_revision(self) -> int:
        self.revision += 1
        return self.revision

    def put(
        self,
        record: Record,
        action: str,
        actor: str = "",
        revision: int = 0,
        *,
        external: bool = False,
        noted: bool = True,
    ) -> Item:
        """Store a record, and note the change unless it was there before the service began."""
        known = self.items.get(record["id"])
        revision = revision or self.next_revision()
        item = Item(known.key if known else len(self.items), record, revision)
        self.items[record["id"]] = item
        before = known.record if known else None
        if noted:
            at = self.clock.now()
            self.changes.append(Noted(revision, record["id"], action, actor, at, before, record, external=external))
        return item

    def approve(self, record: Record, revision: int) -> None:
        """Put a record behind the approved ones, in place of an earlier one of its id."""
        self.withdraw(record["id"], revision)
        self.approvals.append(Approval(record, revision))

    def withdraw(self, id: str, revision: int) -> None:
        for approval in self.approvals:
            if approval.record["id"] == id and not approval.removed:
                approval.removed = revision

    def find(self, id: str) -> Item:
        """Return the candidate. Raises CANDIDATE_NOT_FOUND."""
        if (item := self.items.get(id)) is None:
            raise Refusal("CANDIDATE_NOT_FOUND", "No candidate has this id; take ids from Queue.", id=id)
        return item

    def claim_of(self, id: str) -> Claim | None:
        """Return the candidate's claim if it lives."""
        claim = self.claims.get(id)
        return claim if claim is not None and claim.expires_at > self.clock.now() else None

    def recall(self, request: Any, kind: type[M]) -> M | None:
        """Return the first answer to the request's id, None if the id is new.

        Raises INVALID_FIELD for an id that was used with other content.
        """
        if not request.request_id or request.request_id not in self.remembered:
            return None
        content, answer = self.remembered[request.request_id]
        if content != _content(request):
            raise invalid("request_id", "was used before with another call or other content; use a new one")
        return kind.FromString(answer)

    def remember(self, request: Any, answer: M) -> M:
        """Keep the answer for the request's id, and return it."""
        if request.request_id:
            self.remembered[request.request_id] = (_content(request), answer.SerializeToString())
        return answer


def change_message(noted: Noted, *, values: bool = False) -> pb.Change:
    """Return a change as the wire has it; the keys that it touched have their values if `values` says so."""
    change = pb.Change(
        revision=noted.revision,
        id=noted.id,
        action=CHANGE_ACTIONS[noted.action],
        actor=noted.actor,
        status_before=_status(noted.before),
        status_after=_status(noted.after),
        fields=[
            _field(noted, name) if values else pb.FieldChange(name=without_surrogates(name)) for name in noted.names
        ],
        source=pb.CHANGE_SOURCE_EXTERNAL if noted.external else pb.CHANGE_SOURCE_SERVICE,
        file=noted.file,
    )
    change.at.FromMilliseconds(int(noted.at * 1_000))
    return change


def status_word(record: Record) -> str:
    status = text_of(record, "status")
    return "unknown" if status is None else status


def _status(record: Record | None) -> str:
    return text_of(record or {}, "status") or ""


def _field(noted: Noted, name: str) -> pb.FieldChange:
    def text(record: Record) -> str:
        return json.dumps(record[name]) if name in record else ""

    name_shown = without_surrogates(name)
    return pb.FieldChange(name=name_shown, before_json=text(noted.before or {}), after_json=text(noted.after))


def _content(request: Any) -> bytes:
    return type(request).__name__.encode() + bytes(request.SerializeToString(deterministic=True))
