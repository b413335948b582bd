"""Exports and snapshots of the in-memory service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from avocet_client.testing import checks
from avocet_client.testing.forms import is_exportable, prompt_digest, text_of
from avocet_client.testing.lines import Record
from avocet_client.testing.reading import passes, since
from avocet_client.testing.records import example_message
from avocet_client.testing.refusals import EXPIRED, Refusal, invalid
from avocet_client.testing.store import Approval, Store
from avocet_client.testing.tokens import state_of, token_of
from avocet_client.v1 import corrections_pb2 as pb

BATCH = 100


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
        raise Refusal(*EXPIRED)
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
