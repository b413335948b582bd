"""An import as many changes, one after another, beside other callers' changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from avocet_grpc.core.imports import STEP_BYTES, import_run, steps_of
from avocet_grpc.core.lines import RunLine
from avocet_grpc.core.model import Imported, OnConflict
from avocet_grpc.edge.answers import CHANGING
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import answers, principal


async def import_in_steps(backend: Backend, run_id: str, lines: Iterator[RunLine], on_conflict: OnConflict) -> Imported:
    """Import the lines of a run. A call that breaks off leaves whole steps, and repeating the import completes them."""
    done, steps = Imported(), steps_of(lines)
    while True:
        await answers().take(STEP_BYTES, CHANGING)
        step = await backend.run_long(lambda: next(steps, None))
        if step is None:
            return done
        done += await import_step(backend, run_id, step, on_conflict)
        del step


async def import_step(backend: Backend, run_id: str, step: Sequence[RunLine], on_conflict: OnConflict) -> Imported:
    """Import some lines of a run as one change."""
    numbers, records = [line.number for line in step], [line.line for line in step]
    work = partial(
        import_run, run_id=run_id, lines=records, actor=principal(), on_conflict=on_conflict, numbers=numbers
    )
    return await backend.write(work)
