"""What a work says that it may read reaches the ledger, whatever is put round it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import ServerVersion
from avocet_grpc.core.ports.ledger import NoRoom, Reads
from avocet_grpc.edge.answers import Answers
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.candidate_cache import CandidateCache
from avocet_grpc.edge.parse import queue_query
from avocet_grpc.edge.queue_response import queue_response
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode, import_candidates

NONE: Any = None


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    ledger = ExportLedger(SqliteLedger(DataDirectory(tmp_path), encode), None)
    import_candidates(ledger, 1, model_response="x" * 5_000)
    backend = Backend(ledger, NONE, NONE, ServerVersion("", "", 0, 0))
    yield backend
    backend.close()
    ledger.close()


WAYS = {
    "a read": lambda backend, work: backend.read(work),
    "a read for a stream": lambda backend, work: backend.read_for_stream(work),
    "a change": lambda backend, work: backend.write(work),
    "a change with an answer": lambda backend, work: backend.write_and_answer(work, lambda _, given: given),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_work_that_may_not_read_a_long_line_raises_before_it_does(backend: Backend, way: str) -> None:
    async def run(most: int) -> Any:
        return await WAYS[way](backend, Reads(lambda reader: reader.candidate("c0"), (), most))

    with pytest.raises(NoRoom):
        asyncio.run(run(4_000))
    assert asyncio.run(run(10_000)).key == 1


def test_a_page_of_the_usual_size_is_read_once(tmp_path: Path) -> None:
    ledger, reads = ExportLedger(SqliteLedger(DataDirectory(tmp_path), encode), None), list[int]()
    import_candidates(ledger, 30, model_response="x" * 2_000)
    backend = Backend(ledger, NONE, NONE, ServerVersion("", "", 0, 0))
    query = queue_query(pb.QueueRequest())

    def page(reader: Any) -> bytes:
        reads.append(1)
        return queue_response(reader, query, CandidateCache())

    async def asked() -> bytes:
        with Answers(10_000_000).hold("ipv4:a:1") as hold:
            return await hold.work(lambda most: backend.read(Reads(page, (), most)))

    assert len(pb.QueueResponse.FromString(asyncio.run(asked())).items) == 20
    assert len(reads) == 1
    backend.close()
    ledger.close()
