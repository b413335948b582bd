"""Exports, snapshots and imports of the in-memory service."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from avocet_client.testing import checks
from avocet_client.testing.reading import passes, since, state_of, token_of
from avocet_client.testing.records import Record, example_message, is_exportable, prompt_digest, text_of
from avocet_client.testing.refusals import Refusal, invalid
from avocet_client.testing.store import Approval, Store
from avocet_client.v1 import corrections_pb2 as pb

BATCH = 100
DECIDED = {"status", "corrected_response", "corrected_message", "failure_category", "reviewed_at", "reviewed_by"}
"""Keys that do not count when the contents of two records are compared."""


def stream_export(store: Store, request: pb.StreamExportRequest) -> Iterator[pb.StreamExportResponse]:
    """Answer `StreamExport`, as the store is when the stream begins."""
    checks.export(request)
    since(store, request.since_revision)
    revision, after = _beginning(store, request)
    chosen = _chosen(store, request, revision)
    total = len(chosen) - after
    ids = hashlib.sha256()
    size = request.batch_size or BATCH
    for begin in range(after, len(chosen), size):
        batch = chosen[begin : begin + size]
        ids.update("".join(f"{each.record['id']}\n" for each in batch).encode())
        token = token_of(_bound(request), [revision, begin + len(batch)])
        yield pb.StreamExportResponse(
            examples=[example_message(each.record, each.revision) for each in batch],
            resume_token=token,
            revision=revision,
            total=total if begin == after else 0,
        )
    summary = pb.ExportSummary(example_count=total, ids_sha256=ids.hexdigest())
    token = token_of(_bound(request), [revision, len(chosen)])
    yield pb.StreamExportResponse(resume_token=token, revision=revision, total=0, summary=summary)


def create_snapshot(store: Store, request: pb.CreateSnapshotRequest) -> pb.CreateSnapshotResponse:
    """Answer `CreateSnapshot`."""
    checks.not_negative(request, "at_revision")
    checks.at_most("note", request.note)
    checks.snapshot_name(request.name)
    checks.request_id(request.request_id)
    if (answer := store.recall(request, pb.CreateSnapshotResponse)) is not None:
        return answer
    if (taken := store.snapshots.get(request.name)) is not None:
        sentence = "Another snapshot has this name; choose another name, or delete that snapshot."
        raise Refusal("SNAPSHOT_EXISTS", sentence, snapshot=request.name, revision=str(taken.revision))
    revision = _kept(store, request.at_revision) or store.revision
    count = sum(each.at(revision) and is_exportable(each.record) for each in store.approvals)
    snapshot = pb.Snapshot(name=request.name, revision=revision, note=request.note, example_count=count)
    snapshot.created_at.FromMilliseconds(int(store.clock.now() * 1_000))
    store.snapshots[request.name] = snapshot
    return store.remember(request, pb.CreateSnapshotResponse(snapshot=snapshot))


def get_snapshot(store: Store, request: pb.GetSnapshotRequest) -> pb.GetSnapshotResponse:
    """Answer `GetSnapshot`."""
    checks.snapshot_name(request.name)
    return pb.GetSnapshotResponse(snapshot=_snapshot(store, request.name))


def list_snapshots(store: Store, request: pb.ListSnapshotsRequest) -> pb.ListSnapshotsResponse:
    """Answer `ListSnapshots`."""
    size = checks.page_size("page_size", request.page_size, 50)
    begin = state_of(request) or 0
    newest = list(reversed(store.snapshots.values()))
    token = token_of(request, begin + size) if len(newest) > begin + size else ""
    return pb.ListSnapshotsResponse(snapshots=newest[begin : begin + size], next_page_token=token)


def delete_snapshot(store: Store, request: pb.DeleteSnapshotRequest) -> pb.DeleteSnapshotResponse:
    """Answer `DeleteSnapshot`."""
    checks.snapshot_name(request.name)
    _snapshot(store, request.name)
    del store.snapshots[request.name]
    return pb.DeleteSnapshotResponse()


def list_runs(store: Store, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
    """Answer `ListRuns`."""
    size = checks.page_size("page_size", request.page_size, 50)
    begin = state_of(request) or 0
    names = sorted(store.runs, reverse=True)
    known = {text_of(item.record, "benchmark_run_id") for item in store.items.values()}
    runs = []
    for name in names[begin : begin + size]:
        read = [_record(line) for line in store.runs[name]]
        good = sum(record is not None for record in read)
        runs.append(
            pb.Run(
                run_id=name,
                timestamp=name,
                candidate_count=good,
                malformed_count=len(read) - good,
                already_imported=name in known,
            )
        )
    token = token_of(request, begin + size) if len(names) > begin + size else ""
    return pb.ListRunsResponse(runs=runs, next_page_token=token)


def import_run(store: Store, request: pb.ImportRequest) -> pb.ImportResponse:
    """Answer `Import`."""
    checks.run_id(request.run_id)
    checks.known("on_conflict", request.on_conflict, pb.OnConflict.values())
    if request.run_id not in store.runs:
        sentence = "There is no such benchmark run; take its id from ListRuns."
        raise Refusal("RUN_NOT_FOUND", sentence, run_id=request.run_id)
    return _imported(store, request.run_id, request.on_conflict, store.runs[request.run_id])


def upload_run(store: Store, requests: Sequence[pb.UploadRunRequest]) -> pb.UploadRunResponse:
    """Answer `UploadRun`."""
    first = requests[0] if requests else pb.UploadRunRequest()
    checks.run_id(first.run_id)
    checks.known("on_conflict", first.on_conflict, pb.OnConflict.values())
    if any(each.run_id or each.on_conflict for each in requests[1:]):
        raise invalid("run_id", "must stand in the first message alone, and so must on_conflict")
    lines = b"".join(each.lines for each in requests).decode(errors="replace").split("\n")
    imported = _imported(store, first.run_id, first.on_conflict, lines)
    return pb.UploadRunResponse.FromString(imported.SerializeToString())


def _imported(store: Store, run_id: str, on_conflict: int, lines: Sequence[str]) -> pb.ImportResponse:
    response, revision = pb.ImportResponse(), 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        kind, reason, record = _judged(store, run_id, on_conflict, _record(line))
        setattr(response, kind, getattr(response, kind) + 1)
        if kind in ("imported", "qualified") and record is not None:
            revision = store.put(record, "import", revision=revision).revision
            response.by_status[text_of(record, "status") or "unknown"] += 1
        elif reason and len(response.problems) < 20:
            response.problems.add(line=number, reason=reason, id=(record or {}).get("id", ""))
    return response


def _judged(store: Store, run_id: str, on_conflict: int, record: Record | None) -> tuple[str, str, Record | None]:
    """Return what a line counts as, what is wrong with it, and its record."""
    if record is None:
        return "malformed", "the line is not a JSON object with an id", None
    for kind, candidate in (("imported", record), ("qualified", record | {"id": f"{run_id}/{record['id']}"})):
        if (known := store.items.get(candidate["id"])) is None:
            return kind, "", candidate
        if _content(known.record) == _content(candidate):
            return "skipped", "", candidate
        if on_conflict != pb.ON_CONFLICT_QUALIFY:
            break
    return "conflicts", "a record of this id with other content is known", record


def _beginning(store: Store, request: pb.StreamExportRequest) -> tuple[int, int]:
    """Return the revision of an export, and how many of its examples were sent before."""
    if (state := state_of(_bound(request), "resume_token")) is not None:
        if request.at_revision not in (0, state[0]):
            raise invalid("resume_token", "belongs to another at_revision; leave one of the two out")
        return state[0], state[1]
    if request.snapshot:
        return _snapshot(store, request.snapshot).revision, 0
    return _kept(store, request.at_revision) or store.revision, 0


def _bound(request: pb.StreamExportRequest) -> pb.StreamExportRequest:
    """Return the request without the revision, which a token has itself."""
    bound = pb.StreamExportRequest()
    bound.CopyFrom(request)
    bound.at_revision = 0
    return bound


def _kept(store: Store, revision: int) -> int:
    if revision > store.revision:
        raise invalid("at_revision", f"is still to come; the newest revision is {store.revision}")
    if 0 < revision < store.floor:
        raise Refusal("REVISION_EXPIRED", "The server no longer keeps that revision; start again without it.")
    return revision


def _snapshot(store: Store, name: str) -> pb.Snapshot:
    if name not in store.snapshots:
        sentence = "No snapshot has this name; take names from ListSnapshots."
        raise Refusal("SNAPSHOT_NOT_FOUND", sentence, snapshot=name)
    return store.snapshots[name]


def _chosen(store: Store, request: pb.StreamExportRequest, revision: int) -> list[Approval]:
    """Return the examples: by revision and filter, then unique prompts, then split, shard and since_revision."""
    found = [
        each
        for each in store.approvals
        if each.at(revision) and is_exportable(each.record) and passes(each.record, request.filter)
    ]
    if request.unique_prompts:
        newest = {prompt_digest(each.record) or each.record["id"]: each for each in found}
        found = [each for each in found if newest[prompt_digest(each.record) or each.record["id"]] is each]
    count = request.shard_count or 1
    return [
        each
        for each in found
        if (not request.HasField("split") or _in_split(request.split, each.record))
        and _hash(f"shard\0{each.record['id']}") % count == request.shard_index
        and each.revision > request.since_revision
    ]


def _in_split(split: pb.Split, record: Record) -> bool:
    together = record["id"]
    if split.by == pb.SPLIT_BY_PROMPT and (digest := prompt_digest(record)):
        together = f"prompt\0{digest}"
    elif split.by == pb.SPLIT_BY_TASK and (task := text_of(record, "task_id")):
        together = f"task\0{task}"
    point = _hash(f"split\0{split.seed}\0{together}") / float(1 << 63)
    return (point < split.validation_fraction) == (split.name == pb.SPLIT_NAME_VALIDATION)


def _hash(text: str) -> int:
    """Return the service's stable number of a text, so that shards and splits are the same as a server's."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _record(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    good = isinstance(record, dict) and isinstance(record.get("id"), str) and 1 <= len(record["id"]) <= checks.MAX_ID
    return record if good else None


def _content(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in DECIDED}
