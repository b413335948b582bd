"""What the mirror remembers of its own last write ends with the next look."""

from __future__ import annotations

import json
from pathlib import Path

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction
from tests.mirror.in_process import Quicker, SteppedClock, opened
from tests.mirror.traces import rest
from tests.support import record, records, write_records


def test_a_line_that_another_program_appends_where_the_service_once_wrote_is_its_own(tmp_path: Path) -> None:
    disk = Quicker()
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}") for n in range(5)])
    with opened(tmp_path, SteppedClock(), disk) as made:
        rest(made)
        disk.line = json.dumps(record("appended")).encode() + b"\n"
        made.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
        rest(made)
        assert disk.line == b"" and len(records(path)) == 7
        made.wait(100)
        made.round()
        small = {"id": "z"}
        write_records(path, [record("c1"), small])
        rest(made)
        assert [one["id"] for one in records(path)] == ["c1", "z"]
        # As many as reach over the place of our line.
        with path.open("a") as file:
            file.write("".join(json.dumps(small) + "\n" for _ in range(1_000)))
        rest(made)
        assert len(records(path)) == 1_002
