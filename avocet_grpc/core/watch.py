"""Following the changes of the store: where a watch stands, and how it goes on after a break."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import lru_cache

from avocet_grpc.core.errors import RevisionExpired
from avocet_grpc.core.history import CURSOR, END
from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.revisions import check_kept, check_named
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """Which changes somebody follows, and from where; `heartbeat_seconds` without a response bring one."""

    since_revision: int = 0
    resume_token: str = ""
    filter: CandidateFilter = field(default_factory=CandidateFilter)
    actions: frozenset[str] = frozenset()
    include_candidates: bool = False
    include_record: bool = False
    heartbeat_seconds: float = 10


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries of the history that follow one another: all between two cursors.

    `revision`: everything up to it lies at or before `end`.
    """

    entries: list[HistoryEntry]
    begin: HistoryCursor
    end: HistoryCursor
    revision: int


def begin_watch(reader: TeamReader, query: WatchQuery) -> HistoryCursor:
    """Return the cursor after which the watch sends everything.

    Raises InvalidField for a revision to come or a token of another watch, RevisionExpired if changes after it were
    pruned, or it is of a ledger that was there before.
    """
    floor = reader.log.floor()
    if query.resume_token:
        at = HistoryCursor(*decode_token("watch", _binding(query), query.resume_token, "resume_token", CURSOR))
        check_kept(reader, at.revision, floor)
        return at
    since = query.since_revision or reader.revision()
    check_named(reader, "since_revision", since, floor)
    return complete(since)


def complete(revision: int) -> HistoryCursor:
    """Return the cursor behind everything that the revision brought."""
    return HistoryCursor(revision, END)


def cursor_of(entry: HistoryEntry) -> HistoryCursor:
    """Return the cursor behind this entry."""
    return HistoryCursor(entry.revision, entry.number)


def level_at(at: HistoryCursor) -> int:
    """Return the revision up to which everything lies before the cursor."""
    return at.revision if at.number == END else at.revision - 1


def watch_token(query: WatchQuery, at: HistoryCursor) -> str:
    """Return the token that goes on behind this cursor."""
    return encode_token("watch", _binding(query), list(at))


def stretch(reader: TeamReader, begin: HistoryCursor, limit: int) -> Stretch:
    """Return at most `limit` entries after `begin`. Raises RevisionExpired if some after it were pruned meanwhile."""
    if begin.revision < reader.log.floor():
        raise RevisionExpired("changes after this revision are no longer kept")
    newest = reader.revision()
    if begin == complete(newest):
        return Stretch([], begin, begin, newest)
    whole = Stretch(reader.log.entries(begin, limit + 1), begin, complete(newest), newest)
    return whole if len(whole.entries) <= limit else cut(whole, limit)


def cut(whole: Stretch, count: int) -> Stretch:
    """Return the first `count` entries of a stretch that has more."""
    last, following = whole.entries[count - 1], whole.entries[count]
    end = cursor_of(last) if following.revision == last.revision else complete(last.revision)
    return Stretch(whole.entries[:count], whole.begin, end, level_at(end))


@lru_cache(maxsize=64)
def _bound(filter: CandidateFilter, actions: frozenset[str]) -> str:
    return binding_of([asdict(filter), sorted(actions)])


def _binding(query: WatchQuery) -> str:
    return _bound(query.filter, query.actions)
