"""The judge of all fault tests: holds the ledger of acks against the service, the two files and the history.

The invariant: each acknowledged change is there, in the service's answers at once and in the shared files once they
are quiet, exactly once; a call that failed is there entirely or not at all; lines of others keep their bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Source
from avocet_grpc.core.ports.ledger import HistoryEntry
from avocet_grpc.store.sql.reader import SqlReader
from avocet_grpc.store.sqlite.session import SqliteSession
from tests.faults.acks import APPROVED, NEEDS_REVIEW, Acks, Known, State, born
from tests.support import Json, Server, eventually, queue_ids

SHOWN = 15
QUIET_S = 60.0
"""How long the shared files may take until they agree; being late is another test's business."""


def check(acks: Acks, server: Server, asked: int = 300) -> None:
    """Hold everything against a running server; raises AssertionError with all that is wrong.

    What was unknown is looked up first, and is an acknowledged change (or none) from then on. At most `asked` records
    are asked for one by one, those changed last; the files, queue, export and counts are compared whole.
    """
    settle(acks, server)
    wrong = Findings(acks)
    wrong.add(acks.wrong)
    recent = sorted(acks.known.values(), key=lambda known: known.state.revision or 0)[-asked:]
    wrong.add(answers(recent, server))
    wrong.add(listings(acks, server))
    with history_of(server.data) as history:
        wrong.add(past(recent, history))
    wrong.conclude()
    files_agree(acks, server.data)


def files_agree(acks: Acks, data: Path, within: float = QUIET_S) -> None:
    """Hold the two files, as a plain reader sees them, against the book; they have `within` seconds to agree."""

    def agree() -> bool:
        wrong = Findings(acks)
        wrong.add(files(acks, data))
        wrong.conclude()
        return True

    eventually(agree, within)


class Findings:
    """What is wrong, shown together with the seed."""

    def __init__(self, acks: Acks) -> None:
        self._acks = acks
        self._wrong: list[str] = []

    def add(self, wrong: Iterable[str]) -> None:
        self._wrong += wrong

    def conclude(self) -> None:
        """Raises AssertionError where anything is wrong."""
        shown = "\n".join(self._wrong[:SHOWN])
        assert not self._wrong, f"seed {self._acks.seed}: {len(self._wrong)} wrong:\n{shown}"


def settle(acks: Acks, server: Server) -> None:
    """Look up what was unknown. What the service now answers is taken as its outcome; the judge sees to the rest."""
    for known in acks.known.values():
        if (change := known.doubt) is not None:
            found = get(server, known.id)
            known.doubt = None
            if found is not None and served(found) == expected(known, change.after):
                known.state = replace(change.after, revision=found.revision)
                known.changes.append(replace(change, after=known.state))
    if not acks.unborn:
        return
    exported = {example.messages[-1].content: example.id for example in export(server)[0]}
    for unborn in acks.unborn:
        made = [_with_id(original, exported) for original in unborn.originals]
        there = [original for original in made if original["id"] and get(server, original["id"])]
        acks.known.update((original["id"], born(original, unborn.change)) for original in there)
        if len(there) not in (0, len(made)):
            acks.wrong.append(f"half there: {len(there)} of {len(made)} records of {unborn.change.actor}")
    acks.unborn.clear()


def answers(known: Iterable[Known], server: Server) -> Iterator[str]:
    """What is wrong with GetCandidate; a revision that was not answered so far is noted, and holds from now on."""
    for one in known:
        found = get(server, one.id)
        if found is None:
            yield f"{one.id}: not served"
            continue
        if (now := served(found)) != (wanted := expected(one, one.state)):
            yield f"{one.id}: served {now}, wanted {wanted}"
        if one.state.revision is None:
            one.state = replace(one.state, revision=found.revision)
        elif found.revision != one.state.revision and not (one.edited and found.revision > one.state.revision):
            yield f"{one.id}: revision {found.revision}, acknowledged was {one.state.revision}"


def listings(acks: Acks, server: Server) -> Iterator[str]:
    """What is wrong with Queue, StreamExport and Stats."""
    everyone = acks.known.values()
    queued = list(queue_ids(server, per_page=500))
    yield from _differ("queue", queued, [one.id for one in everyone if one.state.status == NEEDS_REVIEW])
    examples, summary = export(server)
    texts = {one.id: correction(one) for one in everyone if one.state.status == APPROVED and correction(one)}
    yield from _differ("export", [example.id for example in examples], texts)
    for example in examples:
        if (text := example.messages[-1].content) != texts.get(example.id, text):
            yield f"{example.id}: exported {text!r}, wanted {texts[example.id]!r}"
    if summary.ids_sha256 != hashlib.sha256("".join(f"{e.id}\n" for e in examples).encode()).hexdigest():
        yield "export: the summary does not prove what was sent"
    stats = server.stats()
    statuses = Counter(one.state.status for one in everyone)
    if dict(stats.by_status) != statuses or stats.total != len(acks.known) or stats.export_ready != len(texts):
        yield f"stats: {dict(stats.by_status)}, {stats.export_ready} to export; wanted {dict(statuses)}, {len(texts)}"
    if stats.revision < acks.highest_revision:
        yield f"stats: revision {stats.revision}, acknowledged was {acks.highest_revision}"


def past(known: Iterable[Known], history: SqlReader) -> Iterator[str]:
    """What is wrong with the history: each of our changes once, and nothing else but what others did."""
    for one in known:
        entries = [entry for entry in reversed(history.history(one.id)) if entry.source is Source.SERVICE]
        noted = [(entry.action, entry.actor, entry.revision) for entry in entries]
        wanted = [
            (change.action, change.actor, change.after.revision or noted_revision(entry))
            for change, entry in zip(one.changes, [*entries, *[None] * len(one.changes)], strict=False)
        ]
        if noted != wanted:
            yield f"{one.id}: the history has {noted}, wanted {wanted}"


def noted_revision(entry: HistoryEntry | None) -> int:
    """The revision of an entry whose caller was not told one."""
    return entry.revision if entry else 0


def files(acks: Acks, data: Path) -> Iterator[str]:
    """What is wrong with the two files as a plain reader sees them."""
    kept = {name: Counter(raw for at, raw in acks.kept_lines if at == name) for name in ("candidates", "approved")}
    wanted = dict.fromkeys(acks.known)
    yield from file(acks, data / "sft_candidates.jsonl", kept["candidates"], wanted)
    approved = dict.fromkeys(one.id for one in acks.known.values() if one.state.status == APPROVED)
    yield from file(acks, data / "sft_approved.jsonl", kept["approved"], approved)


def file(acks: Acks, path: Path, kept: Counter[bytes], wanted: Iterable[str]) -> Iterator[str]:
    """What is wrong with one file: each wanted record once and as it should be, the kept lines, and nothing else."""
    found: list[Json] = []
    kept = Counter(kept)
    for raw in path.read_bytes().split(b"\n"):
        if kept[raw] > 0:
            kept[raw] -= 1
        elif raw.strip():
            try:
                found.append(json.loads(raw))
            except ValueError:
                yield f"{path.name}: cannot be parsed: {raw[:100]!r}"
    yield from (f"{path.name}: a line of others is lost: {raw[:100]!r}" for raw in kept.elements())
    yield from _differ(path.name, [content["id"] for content in found], wanted)
    for content in found:
        if (known := acks.known.get(content["id"])) and (difference := unlike(known, content)):
            yield f"{path.name}: {known.id}: {difference}"


def unlike(known: Known, content: Json) -> str:
    """In what the record of a file differs from what the book says; empty where it does not."""
    wanted = known.original | {"status": known.state.status} | dict(known.state.fields)
    for key in {**wanted, **content}:
        if key in ("reviewed_at", "timestamp") and key not in known.original:
            continue
        if key not in content or key not in wanted or content[key] != wanted[key]:
            return f"{key} is {content.get(key, 'absent')!r}, wanted {wanted.get(key, 'absent')!r}"
    order = [key for key in content if key in known.original]
    return "" if order == list(known.original) else f"keys moved: {order}"


def expected(known: Known, state: State) -> tuple[str, str | None, str | None]:
    """Status, correction and reviewer of this record in this state."""
    fields = known.original | dict(state.fields)
    return state.status, fields.get("corrected_response"), fields.get("reviewed_by")


def served(candidate: pb.Candidate) -> tuple[str, str | None, str | None]:
    """The same of a candidate that the service answered."""
    status = pb.CandidateStatus.Name(candidate.status).removeprefix("CANDIDATE_STATUS_").lower()
    extra = json.loads(candidate.extra_json or "{}")
    correction = candidate.corrected_response if candidate.HasField("corrected_response") else None
    return extra.get("status", status), correction, candidate.reviewed_by or None


def correction(known: Known) -> str | None:
    """What the record is corrected to."""
    return expected(known, known.state)[1]


def get(server: Server, id: str) -> pb.Candidate | None:
    """The candidate as the service has it; None if it has none."""
    try:
        return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return None


def export(server: Server) -> tuple[list[pb.TrainingExample], Any]:
    """Everything that is exported, and the summary."""
    examples: list[pb.TrainingExample] = []
    summary = None
    for response in server.stub.StreamExport(pb.StreamExportRequest()):
        examples += response.examples
        if response.HasField("summary"):
            summary = response.summary
    assert summary is not None, "the export has no summary"
    return examples, summary


@contextlib.contextmanager
def history_of(data: Path) -> Iterator[SqlReader]:
    """The ledger below `data`, read beside a running server or after it."""
    connection = sqlite3.connect(f"file:{data / '.avocet' / 'ledger.db'}?mode=ro", uri=True, isolation_level=None)
    try:
        yield SqlReader(SqliteSession(connection))
    finally:
        connection.close()


def _differ(what: str, found: list[str], wanted: Iterable[str]) -> Iterator[str]:
    counts, known = Counter(found), set(wanted)
    yield from (f"{what}: missing: {id}" for id in sorted(known - counts.keys()))
    yield from (f"{what}: unexpected: {id}" for id in sorted(counts.keys() - known))
    yield from (f"{what}: {times} times: {id}" for id, times in counts.items() if times > 1)


def _with_id(original: Json, exported: dict[str, str]) -> Json:
    """An ingested record with the id that it got, if it is there: its correction is its request's alone."""
    return original if original["id"] else original | {"id": exported.get(original["corrected_response"], "")}
