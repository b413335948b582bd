"""Importing the candidates of a benchmark run, in steps beside other changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.lines import RunLine
from avocet_grpc.core.model import (
    MOST_PROBLEMS,
    Candidate,
    ChangeAction,
    File,
    Imported,
    ImportProblem,
    OnConflict,
    ParsedLine,
    Record,
)
from avocet_grpc.core.ports.ledger import HistoryEntry, Transaction
from avocet_grpc.core.record import (
    MAX_ID_CHARACTERS,
    MAX_LINE_BYTES,
    content_digest,
    is_valid_id,
    malformed_reason,
    record_in,
    record_of,
    render,
)

STEP_LINES = 64
"""Lines of one step. A decision waits for the step before it, which takes some 20 ms."""
STEP_BYTES = 512 * 1024
"""Bytes of lines with which a step ends; a longer line is a step alone."""
WRITTEN_BY_DECISIONS = frozenset(
    {"status", "corrected_response", "corrected_message", "failure_category", "reviewed_at", "reviewed_by"}
)
"""Keys that do not count when contents are compared, so that an import may be repeated after its decisions."""


def steps_of(lines: Iterable[RunLine]) -> Iterator[list[RunLine]]:
    """Cut a run into steps, each of which becomes one change."""
    step: list[RunLine] = []
    size = 0
    for line in lines:
        step.append(line)
        size += len(line.line.raw)
        if len(step) >= STEP_LINES or size >= STEP_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step


def import_run(
    tx: Transaction,
    run_id: str,
    lines: Sequence[ParsedLine],
    actor: str = "",
    *,
    on_conflict: OnConflict = OnConflict.SKIP,
    numbers: Sequence[int] | None = None,
) -> Imported:
    """Add one step of a run: its records as they are, at one revision. The first line of an id counts.

    A record whose id is known with the same content is skipped; with other content it is a conflict, or is taken under
    another id. `numbers` are the lines' numbers in the run, by default from 1.
    """
    counts, words, problems = Counter[str](), Counter[str](), list[ImportProblem]()
    for number, line in zip(numbers or range(1, len(lines) + 1), lines, strict=True):
        kind, reason, taken = _judged(tx, run_id, line, on_conflict)
        counts[kind] += 1
        if taken is not None and taken.columns is not None:
            tx.put(File.CANDIDATES, taken)
            tx.note(_entry(tx, taken.columns.id, actor, taken.columns.status))
            words["unknown" if taken.columns.status is None else taken.columns.status] += 1
        elif reason and len(problems) < MOST_PROBLEMS:
            problems.append(ImportProblem(number, reason, line.columns.id if line.columns else ""))
    return Imported(**counts, by_status=dict(words), problems=tuple(problems))


Judged = tuple[str, str, ParsedLine | None]
"""What a line counts as, what is wrong with it, and the line to store."""


def _judged(tx: Transaction, run_id: str, line: ParsedLine, on_conflict: OnConflict) -> Judged:
    if line.columns is None:
        return "malformed", malformed_reason(line.raw), None
    known = tx.candidate(line.columns.id)
    if known is None:
        return "imported", "", line
    if _is_same(known, line):
        return "skipped", "", None
    if on_conflict is OnConflict.SKIP:
        return "conflicts", "a record of this id with other content is known", None
    qualified = f"{run_id}/{line.columns.id}"
    if not is_valid_id(qualified):
        return "conflicts", f"the id '<run_id>/<id>' would have more than {MAX_ID_CHARACTERS} characters", None
    renamed = render({**record_in(line), "id": qualified})
    if len(renamed.raw) > MAX_LINE_BYTES:
        return "conflicts", f"the line with the id '<run_id>/<id>' would be longer than {MAX_LINE_BYTES >> 20} MB", None
    known = tx.candidate(qualified)
    if known is None:
        return "qualified", "", renamed
    if _is_same(known, renamed):
        return "skipped", "", None
    return "conflicts", "records of this id and of '<run_id>/<id>' with other content are known", None


def _entry(tx: Transaction, id: str, actor: str, status: str | None) -> HistoryEntry:
    return HistoryEntry(
        revision=tx.new_revision(),
        file=File.CANDIDATES,
        id=id,
        action=ChangeAction.IMPORT,
        actor=actor,
        at=now_iso(),
        status_after=status,
        change=None,
    )


def _is_same(known: Candidate, line: ParsedLine) -> bool:
    return known.raw == line.raw or _content(record_of(known)) == _content(record_in(line))


def _content(record: Record) -> bytes:
    return content_digest({key: value for key, value in record.items() if key not in WRITTEN_BY_DECISIONS})
