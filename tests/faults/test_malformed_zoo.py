"""Lines that are not records, and strange records: the service starts, counts or serves them, and keeps all bytes."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.check import get
from tests.faults.zoo import MALFORMED, RECORDS, REPEATED, zoo
from tests.support import Server, eventually, lines, queue_ids

DECIDED = ["crlf", "nan", "long", "surrogate", "duplicate-keys", "deep499", "utf8"]
IDS = {id for id, _ in RECORDS.values()}


def raw_lines(server: Server) -> Counter[bytes]:
    return Counter(lines(server.candidates))


def counts_are_right(server: Server) -> bool:
    stats = server.stats()
    assert (stats.total, stats.malformed, stats.duplicate_ids) == (len(IDS), len(MALFORMED), len(REPEATED))
    assert stats.by_status == Counter(word_of(raw) for _, raw in RECORDS.values())
    return True


def word_of(raw: bytes) -> str:
    word = json.loads(raw).get("status")
    return word if isinstance(word, str) else "unknown"


def records_are_served(server: Server) -> None:
    """Each by its id with what Python's json reads in it; none of the others, anywhere."""
    for id, raw in RECORDS.values():
        candidate = get(server, id)
        assert candidate is not None, id
        if id != "big":
            wanted = json.loads(raw)
            extra = json.loads(candidate.extra_json or "{}")
            assert all(key not in extra or same(extra[key], wanted[key]) for key in wanted), id
    queued = list(queue_ids(server, per_page=500))
    wanted_ids = {id for id, raw in RECORDS.values() if word_of(raw) == "needs_review"}
    assert len(queued) == len(set(queued)) and set(queued) == wanted_ids


def same(one: object, other: object) -> bool:
    """Equal as JSON text: NaN is NaN."""
    return json.dumps(one) == json.dumps(other)


def test_the_zoo_is_counted_and_served_and_its_bytes_stay(victim: Server) -> None:
    victim.candidates.write_bytes(zoo())
    victim.approved.write_bytes(b"".join(raw + b"\n" for raw in MALFORMED.values()))
    before = raw_lines(victim)
    server = victim.start()
    stats = server.stats()
    assert (stats.total, stats.duplicate_ids) == (len(IDS), len(REPEATED))
    assert stats.malformed == 2 * len(MALFORMED)
    records_are_served(server)
    assert raw_lines(server) == before
    assert server.stop() == 0
    assert raw_lines(server) == before
    shutil.rmtree(server.data / ".avocet")
    assert server.start().stats().malformed == 2 * len(MALFORMED)
    assert raw_lines(server) == before


def test_the_zoo_keeps_its_bytes_while_its_records_are_decided_on(victim: Server) -> None:
    victim.candidates.write_bytes(zoo())
    server = victim.start()
    counts_are_right(server)
    kept = raw_lines(server)
    for id in DECIDED:
        server.correct(id, f"better {id}")
        kept -= Counter([dict(RECORDS.values())[id]])
    eventually(lambda: all(f"better {id}".encode() in server.candidates.read_bytes() for id in DECIDED))
    assert kept <= raw_lines(server)
    assert server.stop() == 0
    after = raw_lines(server)
    assert kept <= after
    for raw in (after - kept).elements():
        record = json.loads(raw)
        old = json.loads(dict(RECORDS.values())[record["id"]])
        assert raw.isascii()
        assert all(same(record[key], old[key]) for key in old if key not in ("status", "corrected_response"))
    server.start()
    for id in DECIDED[:3]:
        server.stub.Undo(pb.UndoRequest(id=id))
    assert server.stop() == 0
    assert kept <= raw_lines(server)


def test_the_zoo_may_come_line_by_line_while_it_runs(victim: Server) -> None:
    server = victim.start()
    for raw in (*MALFORMED.values(), *(raw for _, raw in RECORDS.values()), *REPEATED.values()):
        with server.candidates.open("ab", buffering=0) as file:
            file.write(raw + b"\n")
    eventually(lambda: counts_are_right(server))
    records_are_served(server)
    assert raw_lines(server) == Counter(raw for raw in zoo().split(b"\n") if raw.strip())


@pytest.mark.parametrize("what", MALFORMED)
def test_each_malformed_line_is_one_to_python_too(what: str) -> None:
    """The zoo's own check: what Python's json accepts, with a valid id, would not belong here."""
    try:
        value = json.loads(MALFORMED[what].decode())
    except (ValueError, RecursionError):
        return
    beyond = what == "lists nested 501 deep"
    id = value.get("id") if isinstance(value, dict) else None
    valid = isinstance(id, str) and 1 <= len(id) <= 512 and "\ud800" not in id
    assert beyond or not valid
