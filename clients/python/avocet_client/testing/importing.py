"""Benchmark runs of the in-memory service: their list, and what an import takes of their lines."""

from __future__ import annotations

from collections.abc import Sequence

from avocet_client.testing import checks
from avocet_client.testing.forms import text_of
from avocet_client.testing.lines import MAX_ID, Record, content_of, is_id, read_lines
from avocet_client.testing.refusals import Refusal, invalid
from avocet_client.testing.store import Store, status_word
from avocet_client.testing.tokens import state_of, token_of
from avocet_client.v1 import corrections_pb2 as pb

DECIDED = {"status", "corrected_response", "corrected_message", "failure_category", "reviewed_at", "reviewed_by"}
"""Keys that do not count when the contents of two records are compared."""


def list_runs(store: Store, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
    """Answer `ListRuns`."""
    size = checks.page_size("page_size", request.page_size, 50)
    begin = state_of(request) or 0
    names = sorted(store.runs, reverse=True)
    known = {text_of(item.record, "benchmark_run_id") for item in store.items.values()}
    runs = []
    for name in names[begin : begin + size]:
        read = [record for _, record in read_lines(store.runs[name])]
        good = sum(not isinstance(record, str) for record in read)
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
        sentence = "No readable benchmark run has this id; ListRuns lists the ids."
        raise Refusal("RUN_NOT_FOUND", sentence, run_id=request.run_id)
    return _imported(store, request.run_id, request.on_conflict, store.runs[request.run_id])


def upload_run(store: Store, requests: Sequence[pb.UploadRunRequest]) -> pb.UploadRunResponse:
    """Answer `UploadRun`."""
    first = requests[0] if requests else pb.UploadRunRequest()
    checks.run_id(first.run_id)
    checks.known("on_conflict", first.on_conflict, pb.OnConflict.values())
    for later in requests[1:]:
        for field in ("run_id", "on_conflict"):
            if getattr(later, field):
                raise invalid(field, "must be in the first message only")
    lines = b"".join(each.lines for each in requests).split(b"\n")
    imported = _imported(store, first.run_id, first.on_conflict, lines)
    return pb.UploadRunResponse.FromString(imported.SerializeToString())


def _imported(store: Store, run_id: str, on_conflict: int, lines: Sequence[bytes]) -> pb.ImportResponse:
    response, revision = pb.ImportResponse(), 0
    for number, read in read_lines(lines):
        kind, reason, record = _judged(store, run_id, on_conflict, read)
        setattr(response, kind, getattr(response, kind) + 1)
        if kind in ("imported", "qualified") and record is not None:
            revision = store.put(record, "import", revision=revision).revision
            response.by_status[status_word(record)] += 1
        elif reason and len(response.problems) < 20:
            response.problems.add(line=number, reason=reason, id=(record or {}).get("id", ""))
    return response


def _judged(store: Store, run_id: str, on_conflict: int, read: Record | str) -> tuple[str, str, Record | None]:
    """Return what a line counts as, what is wrong with it, and its record."""
    if isinstance(read, str):
        return "malformed", read, None
    if (known := store.items.get(read["id"])) is None:
        return "imported", "", read
    if _compared(known.record) == _compared(read):
        return "skipped", "", read
    if on_conflict != pb.ON_CONFLICT_QUALIFY:
        return "conflicts", "a record of this id with other content is known", read
    qualified = read | {"id": f"{run_id}/{read['id']}"}
    if not is_id(qualified["id"]):
        problem = f"the id '<run_id>/<id>' would have more than {MAX_ID} characters"
        return "conflicts", problem, read
    if (known := store.items.get(qualified["id"])) is None:
        return "qualified", "", qualified
    if _compared(known.record) == _compared(qualified):
        return "skipped", "", qualified
    return "conflicts", "records of this id and of '<run_id>/<id>' with other content are known", read


def _compared(record: Record) -> str:
    return content_of({key: value for key, value in record.items() if key not in DECIDED})
