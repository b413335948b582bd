"""What type checkers refuse: each line that ends in `# refused`, and no other. Nothing here is run."""

from __future__ import annotations

import avocet_client
from avocet_client import AsyncCorrectionsClient, CandidateFilter, Correction, CorrectionsClient
from avocet_client.v1 import corrections_pb2 as pb


def calls(client: CorrectionsClient) -> None:
    client.submit("a")  # refused
    client.submit("a", action="corect")  # refused
    client.submit("a", action="correct", corrected_response=5)  # refused
    client.submit("a", "correct")  # refused
    client.submit("a", action="flag", failure_category="bad")  # refused
    client.queue(order="random")  # refused
    client.queue(filter={"task_types": ["code"]})  # refused
    client.get_candidate(5)  # refused
    client.stats(timeout="5s")  # refused
    client.ingest(source="s", task_type="t", prompt="p")  # refused
    client.export(split="test")  # refused
    client.ingest_many([pb.IngestRequest()])  # refused
    client.imports("2025")  # refused
    answer: int = client.get_candidate("a")  # refused
    print(answer, client.get_candidate("a").ids)  # refused


async def async_calls(client: AsyncCorrectionsClient) -> None:
    for _ in client.export():  # refused
        pass
    print(client.get_candidate("a").id)  # refused


def values() -> None:
    CandidateFilter(failure_categories=["no"])  # refused
    CandidateFilter(tasks=["code"])  # refused
    Correction(source="s")  # refused
    print(avocet_client.Unheard)  # refused
