"""ListHistory, and a change of a record as a wire message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.history import SCANNED, HistoryQuery, history_token, names_of, scan
from avocet_grpc.core.json_text import python_json
from avocet_grpc.core.model import ChangeAction, File, Source
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.record import replace_surrogates
from avocet_grpc.edge.enums import by_number
from avocet_grpc.edge.paging import fill

ACTIONS = by_number(pb.ChangeAction, "CHANGE_ACTION", ChangeAction)
ACTION_NUMBERS: dict[str, Any] = {word.value: number for number, word in ACTIONS.items()}
FILES = {File.CANDIDATES: pb.SHARED_FILE_CANDIDATES, File.APPROVED: pb.SHARED_FILE_APPROVED}
SOURCES = {Source.SERVICE: pb.CHANGE_SOURCE_SERVICE, Source.EXTERNAL: pb.CHANGE_SOURCE_EXTERNAL}


def history_response(reader: TeamReader, query: HistoryQuery) -> pb.ListHistoryResponse:
    """Return one page of the history."""

    def looked_at() -> Iterator[tuple[HistoryCursor, pb.Change | None]]:
        for scanned in scan(reader, query):
            entry = scanned.entry
            yield scanned.at, None if entry is None else change_message(entry, values=bool(query.id))

    page = fill(looked_at(), query.page_size, SCANNED)
    token = "" if page.last is None else history_token(query, page.last)
    return pb.ListHistoryResponse(changes=page.items, next_page_token=token)


def change_message(entry: HistoryEntry, *, values: bool = False) -> pb.Change:
    """Return a change of one record; the keys that it touched come with their values if `values` says so."""
    change = pb.Change(
        revision=entry.revision,
        id=entry.id,
        action=ACTION_NUMBERS.get(entry.action, pb.CHANGE_ACTION_UNSPECIFIED),
        actor=replace_surrogates(entry.actor),
        status_before=replace_surrogates(entry.status_before or ""),
        status_after=replace_surrogates(entry.status_after or ""),
        fields=_with_values(entry.change) if values else _names(entry.change),
        source=SOURCES[entry.source],
        file=FILES[entry.file],
    )
    change.at.FromDatetime(_moment(entry.at))
    return change


def _names(change: str | None) -> list[pb.FieldChange]:
    return [pb.FieldChange(name=replace_surrogates(name)) for name in names_of(change)]


def _with_values(change: str | None) -> list[pb.FieldChange]:
    if change is None:
        return []
    parts = json.loads(change)
    was, now = parts.get("was", {}), parts.get("now", {})
    return [
        pb.FieldChange(name=replace_surrogates(name), before_json=_json(was, name), after_json=_json(now, name))
        for name in parts["set"]
    ]


def _json(values: dict[str, Any], name: str) -> str:
    return python_json(values[name]) if name in values else ""


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
