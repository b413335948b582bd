"""Stats over very many words: an answer that a client with gRPC's default limit reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.core.model import Imported
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
        within_bounds(counts, 4_500)
    assert stats.by_model["other"] >= 1_500
    # Ties go by the word, so that the answer is the same each time.
    assert set(stats.by_source) - {"frequent", "other"} == {
        word for word in sorted(r["source"] for r in made)[:500]
    } & set(stats.by_source)


def test_the_status_words_of_an_import_and_of_stats_stay_within_their_bounds(server: Server) -> None:
    made = [record(f"f{n}", status="pending", failure_category=f"{n:05d}" + "f" * 990) for n in range(1_500)]
    made += [record(f"s{n}", status=f"{n:05d}" + "s" * 990) for n in range(1_500)]
    made += [record(f"p{n}", status="pending") for n in range(1_500)]
    (server.runs / "many").mkdir()
    write_records(path := server.runs / "many/sft_candidates.jsonl", made)
    server.set_runs_directory()
    with grpc.insecure_channel(server.address) as channel:
        stub = corrections_pb2_grpc.CorrectionsServiceStub(channel)
        imported = stub.Import(pb.ImportRequest(run_id="many"), timeout=120)
        write_records(path, [one | {"id": f"{one['id']}-again"} for one in made])
        parts = [pb.UploadRunRequest(run_id="uploaded"), *in_parts(path.read_bytes())]
        uploaded = stub.UploadRun(iter(parts), timeout=120)
        stats = stub.Stats(pb.StatsRequest())
    assert (imported.imported, uploaded.imported, stats.total) == (4_500, 4_500, 9_000)
    for answer, times in ((imported, 1), (uploaded, 1), (stats, 2)):
        assert answer.ByteSize() < 4 << 20
        within_bounds(answer.by_status, 4_500 * times)
        assert answer.by_status["pending"] == 3_000 * times
    within_bounds(stats.by_failure_category, 3_000)


def in_parts(content: bytes) -> Iterator[pb.UploadRunRequest]:
    for start in range(0, len(content), 500_000):
        yield pb.UploadRunRequest(lines=content[start : start + 500_000])


def within_bounds(counts: Mapping[str, int], total: int) -> None:
    assert sum(counts.values()) == total
    assert len(counts) <= 1_001
    assert sum(len(word) for word in counts) <= 500_000
    assert counts["other"] > 0


def test_the_words_of_an_import_of_any_length_are_held_in_little_room_and_a_frequent_one_is_found() -> None:
    done = Imported()
    for step in range(200):
        words = [f"{step}-{n}\ud800" + "x" * 900 for n in range(63)]
        done += Imported(64, by_status=dict.fromkeys([*words, "pending"], 1))
        assert len(done.by_status) <= 2_000 and sum(map(len, done.by_status)) <= 1_000_000
    assert done.imported == sum(done.by_status.values()) == 12_800
    assert done.by_status["pending"] == 200


def test_a_word_that_is_too_long_alone_makes_room_for_shorter_ones() -> None:
    assert _counts({"x" * 600_000: 9, "a": 2, "b": 1}) == {"a": 2, "b": 1, "other": 9}


def test_few_words_are_all_there_and_other_is_a_word_too() -> None:
    assert _counts({"a": 2, "other": 1}) == {"a": 2, "other": 1}
    assert _counts({}) == {}
