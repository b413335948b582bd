"""How many other candidates have the same prompt."""

from __future__ import annotations

from collections.abc import Sequence

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.ports.ledger import Reader

MOST = 100
"""Counted no further."""


def fill_same_prompt(reader: Reader, candidates: Sequence[pb.Candidate]) -> None:
    """Set `same_prompt` of each candidate of the store."""
    digests = {candidate.prompt_digest for candidate in candidates if candidate.prompt_digest}
    counts = reader.same_prompt([bytes.fromhex(digest) for digest in digests], MOST + 1)
    for candidate in candidates:
        if candidate.prompt_digest:
            # The candidate itself is one of them.
            candidate.same_prompt = max(0, counts.get(bytes.fromhex(candidate.prompt_digest), 0) - 1)
