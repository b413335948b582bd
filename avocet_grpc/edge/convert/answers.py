"""Everything but records: runs, counts and versions as wire messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.counts import largest
from avocet_grpc.core.model import Imported, ServerVersion, Stats
from avocet_grpc.core.ports.runs import Run
from avocet_grpc.core.record import replace_surrogates


def run_message(run: Run, already_imported: bool) -> pb.Run:
    """Return a benchmark run; bytes of its directory's name that are not text become U+FFFD."""
    return pb.Run(
        run_id=replace_surrogates(run.run_id),
        timestamp=replace_surrogates(run.timestamp),
        candidate_count=run.candidate_count,
        malformed_count=run.malformed_count,
        already_imported=already_imported,
    )


def imported_message(imported: Imported) -> pb.ImportResponse:
    """Return what an import brought."""
    return pb.ImportResponse(
        imported=imported.imported,
        skipped=imported.skipped,
        malformed=imported.malformed,
        conflicts=imported.conflicts,
        qualified=imported.qualified,
        by_status=_counts(imported.by_status),
        problems=[pb.ImportProblem(line=one.line, reason=one.reason, id=one.id) for one in imported.problems],
    )


def uploaded_message(imported: Imported) -> pb.UploadRunResponse:
    """Return what an upload brought: the fields of an import's answer."""
    return pb.UploadRunResponse.FromString(imported_message(imported).SerializeToString())


def stats_message(stats: Stats) -> pb.StatsResponse:
    """Return the counts of the store."""
    return pb.StatsResponse(
        total=stats.total,
        by_status=_counts(stats.by_status),
        by_model=_counts(stats.by_model),
        by_task_type=_counts(stats.by_task_type),
        by_source=_counts(stats.by_source),
        by_failure_category=_counts(stats.by_failure_category),
        export_ready=stats.export_ready,
        malformed=stats.malformed,
        duplicate_ids=stats.duplicate_ids,
        revision=stats.revision,
        unexportable=_counts(stats.unexportable),
    )


def version_message(version: ServerVersion) -> pb.GetVersionResponse:
    """Return what the server says of itself."""
    response = pb.GetVersionResponse(
        version=version.version, schema_version=version.schema_version, engine=version.engine
    )
    response.started_at.FromMicroseconds(int(version.started_at * 1_000_000))
    return response


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the words with the largest counts, as the wire can carry them. The others count under `other`."""
    words: Counter[str] = Counter()
    for word, count in counts.items():
        words[replace_surrogates(word)] += count
    return largest(words)
