"""The parts of a split are what their rule says."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from avocet_grpc.core.export import in_split
from avocet_grpc.core.model import Split, SplitBy


@pytest.mark.parametrize("fraction", [0.0, 1e-19, 1e-6, 0.1, 1 / 3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_an_example_is_validation_if_its_hash_is_below_the_fraction(fraction: float, seed: int) -> None:
    choice = random.Random(seed)
    for number in range(300):
        id, digest, task = (
            f"c{number} \ud800",
            choice.choice([None, choice.randbytes(16)]),
            choice.choice([None, "", "t"]),
        )
        kept = {
            SplitBy.ID: id,
            SplitBy.PROMPT: f"prompt\0{digest.hex()}" if digest else id,
            SplitBy.TASK: f"task\0{task}" if task else id,
        }
        for by, text in kept.items():
            hashed = sha256(f"split\0{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
            below = (int.from_bytes(hashed[:8], "big") >> 1) / 2.0**63 < fraction
            for validation in (True, False):
                assert in_split(Split(validation, fraction, seed, by), id, digest, task) == (below == validation)


def test_the_bound_is_exact_to_the_last_digest() -> None:
    ids = sorted((f"c{number}" for number in range(200)), key=lambda id: _point(id))
    for number, id in enumerate(ids):
        inside = [each for each in ids if in_split(Split(True, _point(id)), each, None, None)]
        assert sorted(inside) == sorted(ids[:number])


def _point(id: str) -> float:
    return (int.from_bytes(sha256(f"split\x000\0{id}".encode()).digest()[:8], "big") >> 1) / 2.0**63
