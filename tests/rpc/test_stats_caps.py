"""Stats over very many words: an answer that a client with gRPC's default limit reads."""

from __future__ import annotations

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.edge.convert.answers import _counts
from tests.support import Server, record, write_records


def test_each_map_has_the_largest_counts_and_the_rest_under_other(stopped_server: Server) -> None:
    server = stopped_server
    made = [record(f"c{n}", source=f"{n:05d}" + "s" * 990, model_name=f"{n:05d}" + "m" * 990) for n in range(3_000)]
    made += [record(f"d{n}", source="frequent", model_name="other", task_type=f"task {n}") for n in range(1_500)]
    write_records(server.candidates, made)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        stats = corrections_pb2_grpc.CorrectionsServiceStub(channel).Stats(pb.StatsRequest())
    assert stats.ByteSize() < 4 << 20
    assert stats.total == 4_500 and stats.by_source["frequent"] == 1_500
    for counts in (stats.by_source, stats.by_model, stats.by_task_type):
        assert sum(counts.values()) == 4_500
        assert len(counts) <= 1_001
        assert sum(len(word) for word in counts) <= 500_000
        assert counts["other"] > 0
    assert stats.by_model["other"] >= 1_500
    # Ties go by the word, so that the answer is the same each time.
    assert set(stats.by_source) - {"frequent", "other"} == {
        word for word in sorted(r["source"] for r in made)[:500]
    } & set(stats.by_source)


def test_a_word_that_is_too_long_alone_makes_room_for_shorter_ones() -> None:
    assert _counts({"x" * 600_000: 9, "a": 2, "b": 1}) == {"a": 2, "b": 1, "other": 9}


def test_few_words_are_all_there_and_other_is_a_word_too() -> None:
    assert _counts({"a": 2, "other": 1}) == {"a": 2, "other": 1}
    assert _counts({}) == {}
