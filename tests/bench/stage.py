"""Everything that one size's measurements need, running: the service on prepared files, and the floors."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench import sides, wire
from tests.bench.dataset import write_files
from tests.bench.floor import join
from tests.bench.sides import SERVICE, Side

KEPT_WITHIN = 0.05
"""Prepared data is used again while its number of candidates is off by no more than this share."""
PAGE = 500
CORRECTION = "Blue light scatters most, since its waves are the shortest. " * 6


@dataclass
class Stage:
    """One size. `seconds` is what one round of one side takes, `callers` how many call at once."""

    size: int
    callers: int
    seconds: float
    rounds: int
    directory: Path
    source: Path
    service: Side
    floor: Side
    floor_fsync: Side
    first_start_s: float
    later_start_s: float

    def in_turn(self, **works: Callable[[], Any]) -> dict[str, list[Any]]:
        """Run the works one after the other, `rounds` times; each begins on a machine that is idle."""
        found: dict[str, list[Any]] = {name: [] for name in works}
        for _ in range(self.rounds):
            for name, work in works.items():
                # What another side wrote must not have to reach the disk within this one's time.
                os.sync()
                self.service.settle()
                found[name].append(work())
        return found

    def queued_ids(self, count: int) -> list[str]:
        """At most `count` ids in review."""
        stub, token, ids = self.service.stub(), "", list[str]()
        while len(ids) < count:
            page = stub.Queue(pb.QueueRequest(per_page=min(PAGE, count - len(ids)), page_token=token))
            ids += [item.id for item in page.items]
            token = page.next_page_token
            if not token:
                break
        return ids

    def undo(self, ids: list[str]) -> None:
        """Put the ids back in review, so that the next round finds what this one found."""
        messages = (pb.UndoRequest(id=id).SerializeToString() for id in ids)
        wire.run(self.service.address, f"{SERVICE}/Undo", messages, 32, 3600)


def submissions(ids: list[str]) -> list[bytes]:
    """A correction of each id, serialized."""
    return [
        pb.SubmitRequest(
            id=id, action=pb.ACTION_CORRECT, corrected_response=CORRECTION, reviewer="ann"
        ).SerializeToString()
        for id in ids
    ]


def ingestion() -> pb.IngestRequest:
    """A correction of a sibling, of some 1.5 KB."""
    prompt, response = "Why is the sky blue? " * 30, "Because of the sea. " * 20
    return pb.IngestRequest(
        source="peregrine", task_type="qa", prompt=prompt, response=response, correction=CORRECTION, label="sky"
    )


def bench_directory() -> Path:
    """Where prepared data is kept between runs; AVOCET_BENCH_DIR says otherwise."""
    return Path(os.environ.get("AVOCET_BENCH_DIR") or Path(tempfile.gettempdir()) / "avocet-bench")


@contextmanager
def staged(size: int, callers: int, seconds: float, rounds: int, source: Path) -> Iterator[Stage]:
    """A Stage; its processes end with it."""
    directory, service, first, later = _service(size, source)
    with ExitStack() as stack:
        stack.callback(service.stop)
        answers = directory / "answers"
        _capture(service, answers)
        floor = stack.enter_context(sides.floor(answers))
        floor_fsync = stack.enter_context(sides.floor(answers, fsync=True))
        yield Stage(
            size, callers, seconds, rounds, directory, source, service, floor, floor_fsync, first, later
        )  # fmt: skip


def _service(size: int, source: Path) -> tuple[Path, Side, float, float]:
    """The service on its files, and the seconds of a first start (0 where it was made before) and of a later one."""
    # A ledger of another schema is not opened; the older ones lay in another place.
    store = source / "avocet_grpc" / "store"
    schema = next(path for path in (store / "sql" / "schema.py", store / "schema.py") if path.exists()).read_bytes()
    directory = bench_directory() / f"{size}-{hashlib.sha256(schema).hexdigest()[:8]}"
    if (directory / "complete").exists():
        service, seconds = _start(directory, source)
        total = service.stub().Stats(pb.StatsRequest()).total
        if abs(total - size) <= max(2, size * KEPT_WITHIN):
            return directory, service, 0.0, seconds
        service.stop()
    shutil.rmtree(directory, ignore_errors=True)
    write_files(directory / "data", size)
    service, first = _start(directory, source)
    service.settle()
    service.stop()
    (directory / "complete").touch()
    service, later = _start(directory, source)
    return directory, service, first, later


def _start(directory: Path, source: Path) -> tuple[Side, float]:
    service = sides.service(directory, source)
    started = time.perf_counter()
    service.start()
    return service, time.perf_counter() - started


def _capture(service: Side, answers: Path) -> None:
    """What the service answers, as bytes, for the floors to answer too. It leaves the store as it was."""
    answers.mkdir(exist_ok=True)
    channel, stub = service.channel(), service.stub()
    id = stub.Queue(pb.QueueRequest(per_page=1)).items[0].id
    requests = {
        "Submit": submissions([id])[0],
        "Undo": pb.UndoRequest(id=id).SerializeToString(),
        "Queue": pb.QueueRequest().SerializeToString(),
        "Stats": pb.StatsRequest().SerializeToString(),
    }
    for method, request in requests.items():
        call: Any = channel.unary_unary(f"{SERVICE}/{method}")
        (answers / method).write_bytes(call(request))
    example = pb.IngestResponse(id="3d1bd5a6-7dd1-4f0a-8a0c-4f7c0d7a1c11", created=True)
    (answers / "Ingest").write_bytes(example.SerializeToString())
    export: Any = channel.unary_stream(f"{SERVICE}/StreamExport")
    (answers / "StreamExport").write_bytes(join(list(export(b""))))
    channel.close()
