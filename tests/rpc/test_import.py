"""What an import takes, what it says of the rest, and that nobody waits for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.memory import FULL, Judged
from tests.support import Json, Server, eventually, failure_of, make_run, queue_ids, record, records, write_records


def put_run(server: Server, run_id: str, contents: list[Json], more: bytes = b"") -> Path:
    (server.runs / run_id).mkdir(exist_ok=True)
    path = server.runs / run_id / "sft_candidates.jsonl"
    write_records(path, contents)
    with path.open("ab") as file:
        file.write(more)
    return path


def imported(server: Server, run_id: str, on_conflict: pb.OnConflict.ValueType = pb.ON_CONFLICT_SKIP) -> Json:
    answer = server.stub.Import(pb.ImportRequest(run_id=run_id, on_conflict=on_conflict), timeout=120)
    names = ("imported", "skipped", "conflicts", "qualified", "malformed")
    return {name: getattr(answer, name) for name in names if getattr(answer, name)} | {
        "by_status": dict(answer.by_status),
        "problems": [(one.line, one.reason, one.id) for one in answer.problems],
    }


@pytest.fixture
def with_runs(server: Server) -> Server:
    server.set_runs_directory()
    return server


def test_the_same_content_is_skipped_and_other_content_is_a_conflict(with_runs: Server) -> None:
    server = with_runs
    put_run(server, "one", [record("a"), record("b"), record("c", status="pending")])
    assert imported(server, "one") == {"imported": 3, "by_status": {"needs_review": 2, "pending": 1}, "problems": []}
    server.correct("a")
    # Other order of keys, other words of a decision: the same content.
    again = dict(reversed(record("a").items())) | {"reviewed_by": "somebody", "failure_category": "format_error"}
    put_run(server, "two", [again, record("b", model_response="another"), record("d")])
    answer = imported(server, "two")
    assert answer.pop("problems") == [(2, "a record of this id with other content is known", "b")]
    assert answer == {"imported": 1, "skipped": 1, "conflicts": 1, "by_status": {"needs_review": 1}}
    assert imported(server, "one")["skipped"] == 3


def test_a_conflict_is_taken_under_the_runs_name_once_if_that_is_asked_for(with_runs: Server) -> None:
    server = with_runs
    put_run(server, "one", [record("a"), record("b")])
    imported(server, "one")
    put_run(server, "two", [record("a", model_response="another", zebra=1), record("b")])
    answer = imported(server, "two", pb.ON_CONFLICT_QUALIFY)
    assert answer == {"qualified": 1, "skipped": 1, "by_status": {"needs_review": 1}, "problems": []}
    assert list(queue_ids(server)) == ["a", "b", "two/a"]
    expected = record("a", model_response="another", zebra=1) | {"id": "two/a"}
    if server.has_files:
        eventually(lambda: expected in records(server.candidates))
        assert list(records(server.candidates)[-1]) == list(expected)
    assert imported(server, "two", pb.ON_CONFLICT_QUALIFY)["skipped"] == 2
    put_run(server, "two", [record("a", model_response="a third")])
    answer = imported(server, "two", pb.ON_CONFLICT_QUALIFY)
    assert (answer["conflicts"], answer["problems"][0][0]) == (1, 1)


def test_an_id_that_would_become_too_long_is_a_conflict(with_runs: Server) -> None:
    long = "x" * 510
    put_run(with_runs, "one", [record(long)])
    imported(with_runs, "one")
    put_run(with_runs, "two", [record(long, model_response="another")])
    answer = imported(with_runs, "two", pb.ON_CONFLICT_QUALIFY)
    assert answer["conflicts"] == 1 and "512" in answer["problems"][0][1]


def test_a_status_that_is_empty_counts_under_itself(with_runs: Server) -> None:
    put_run(with_runs, "one", [record("a", status=""), record("b", status=None)])
    assert imported(with_runs, "one")["by_status"] == {"": 1, "unknown": 1}
    assert with_runs.stats().by_status == {"": 1, "unknown": 1}


def test_an_id_twice_in_a_run_counts_by_its_first_line(with_runs: Server) -> None:
    put_run(with_runs, "one", [record("a"), record("a"), record("a", model_response="another")])
    answer = imported(with_runs, "one")
    assert (answer["imported"], answer["skipped"], answer["conflicts"]) == (1, 1, 1)
    assert answer["problems"][0][0] == 3


def test_each_malformed_line_is_named_with_its_number_and_reason(with_runs: Server) -> None:
    bad = [
        (b'{"id": "torn', "not a JSON object"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"status": "approved"}', "no id"),
        (b'{"id": 7}', "the id is not"),
        (b'{"id": "\xff"}', "not UTF-8"),
        (b'{"id": "deep", "x": ' + b"[" * 600 + b"]" * 600 + b"}", "nests deeper"),
    ]
    lines = b"\n  \n" + b"".join(line + b"\n" for line, _ in bad) + b"\r\n" + json.dumps(record("last")).encode()
    put_run(with_runs, "one", [record("a")], lines)
    answer = imported(with_runs, "one")
    assert (answer["imported"], answer["malformed"]) == (2, len(bad))
    found = answer["problems"]
    assert [line for line, _, _ in found] == list(range(4, 4 + len(bad)))
    assert all(reason in told for (_, reason), (_, told, _) in zip(bad, found, strict=True))


def test_at_most_20_problems_are_named_and_an_unknown_wish_is_refused(with_runs: Server) -> None:
    make_run(with_runs.runs, "one", count=1, malformed=700)
    answer = imported(with_runs, "one")
    assert (answer["malformed"], [line for line, _, _ in answer["problems"]]) == (700, list(range(2, 22)))
    failure = failure_of(lambda: with_runs.stub.Import(pb.ImportRequest(run_id="one", on_conflict=9)))  # type: ignore[arg-type]
    assert (failure.reason, failure.fields) == ("INVALID_FIELD", ["on_conflict"])


def test_a_byte_order_mark_at_the_start_of_a_run_is_skipped(with_runs: Server) -> None:
    path = put_run(with_runs, "one", [])
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(record("a")).encode())
    assert imported(with_runs, "one")["imported"] == 1


def test_decisions_go_on_while_a_large_run_is_imported_and_each_step_has_a_revision(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{number}") for number in range(2_000)])
    server.start()
    server.set_runs_directory()
    # A third of the time is the making of it.
    line = json.dumps(record("rNUMBER", model_response="an answer"))
    put_run(server, "large", []).write_text(
        "".join(f"{line.replace('NUMBER', str(number))}\n" for number in range(10_000))
    )
    importing = server.stub.Import.future(pb.ImportRequest(run_id="large"), timeout=110)
    decided = 0
    while not importing.done() and decided < 2_000:
        server.correct(f"c{decided}")
        decided += 1
    print(f"{decided} decisions were acknowledged during an import of 10,000 records")
    assert importing.result().imported == 10_000
    assert decided > 20
    sizes: dict[int, int] = {}
    token = ""
    for _ in range(8):
        page = server.stub.Queue(pb.QueueRequest(per_page=500, page_token=token))
        token = page.next_page_token
        for item in page.items:
            if item.id.startswith("r"):
                sizes[item.revision] = sizes.get(item.revision, 0) + 1
    assert len(sizes) > 1 and max(sizes.values()) <= 1_000


def test_an_import_that_is_broken_off_is_completed_by_another(with_runs: Server) -> None:
    make_run(with_runs.runs, "run", count=20_000)
    call = with_runs.stub.Import.future(pb.ImportRequest(run_id="run"))
    eventually(lambda: with_runs.stats().total > 0, within=30)
    call.cancel()
    again = imported(with_runs, "run")
    assert again["imported"] + again["skipped"] == 20_000 and again["skipped"] > 0
    assert with_runs.stats().total == 20_000


def test_a_large_run_is_never_held_whole_and_is_counted_once(with_runs: Server) -> None:
    path = put_run(with_runs, "large", [])
    line = json.dumps(record("rNUMBER", model_response="x" * 20_000)) + "\n"
    with path.open("w") as file:
        for number in range(15_000):
            file.write(line.replace("NUMBER", str(number)))
        file.write("y" * (70 << 20) + "\n")
    assert path.stat().st_size > 300 << 20
    with Judged(with_runs, "a run of 300 MB and a line of 70 MB, listed"):
        began = cpu_seconds(with_runs)
        (run,) = with_runs.stub.ListRuns(pb.ListRunsRequest(), timeout=60).runs
    assert (run.candidate_count, run.malformed_count) == (15_000, 1)
    counted = cpu_seconds(with_runs) - began
    for _ in range(5):
        with_runs.stub.ListRuns(pb.ListRunsRequest())
    assert cpu_seconds(with_runs) - began < 2 * counted, "counted again"
    with path.open("a") as file:
        file.write(json.dumps(record("one more")) + "\n")
    (run,) = with_runs.stub.ListRuns(pb.ListRunsRequest(), timeout=60).runs
    assert (run.candidate_count, run.malformed_count) == (15_001, 1)


def test_a_large_run_with_a_line_too_long_is_imported_in_little_memory(with_runs: Server) -> None:
    count = 15_000 if FULL else 2_000
    line = json.dumps(record("rNUMBER", model_response="x" * 20_000)) + "\n"
    path = put_run(with_runs, "large", [])
    with path.open("wb") as file:
        for number in range(count):
            if number == count // 2:
                # A hole is read as zeros, and takes no room on the disk.
                file.seek(300 << 20, os.SEEK_CUR)
                file.write(b"\n")
            file.write(line.replace("NUMBER", str(number)).encode())
    with Judged(with_runs, f"an import of {path.stat().st_size >> 20} MB with a line of 300 MB"):
        answer = with_runs.stub.Import(pb.ImportRequest(run_id="large"), timeout=280)
    assert (answer.imported, answer.malformed) == (count, 1)
    assert [problem.line for problem in answer.problems] == [count // 2 + 1]


def cpu_seconds(server: Server) -> float:
    used = 0
    for pid in server.pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def test_a_bad_run_is_named_in_the_log_and_hides_no_other(with_runs: Server) -> None:
    make_run(with_runs.runs, "good", count=2)
    (with_runs.runs / "loop").symlink_to("loop")
    (with_runs.runs / "directory" / "sft_candidates.jsonl").mkdir(parents=True)
    (with_runs.runs / "device").mkdir()
    (with_runs.runs / "device" / "sft_candidates.jsonl").symlink_to("/dev/zero")
    (with_runs.runs / "pipe").mkdir()
    os.mkfifo(with_runs.runs / "pipe" / "sft_candidates.jsonl")
    assert [run.run_id for run in with_runs.stub.ListRuns(pb.ListRunsRequest(), timeout=20).runs] == ["good"]

    def named() -> set[str]:
        logged = [json.loads(line) for line in with_runs.log.splitlines() if line.startswith("{")]
        return {line["run"] for line in logged if line["event"] == "a run cannot be read"}

    eventually(lambda: named() == {"loop", "directory", "device", "pipe"})
    failure = failure_of(lambda: with_runs.stub.Import(pb.ImportRequest(run_id="device"), timeout=20))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")


def test_a_run_that_its_reader_may_not_read_hides_no_other(stopped_server: Server) -> None:
    server = stopped_server
    if os.geteuid() == 0:
        # Root reads everything by these two rights. Without them the modes of files count for root, too.
        server.prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    server.start()
    server.set_runs_directory()
    make_run(server.runs, "good", count=1)
    make_run(server.runs, "locked", count=1)
    (server.runs / "locked").chmod(0)
    make_run(server.runs, "hidden", count=1)
    (server.runs / "hidden" / "sft_candidates.jsonl").chmod(0)
    assert [run.run_id for run in server.stub.ListRuns(pb.ListRunsRequest(), timeout=20).runs] == ["good"]
    eventually(lambda: '"run": "locked"' in server.log and '"run": "hidden"' in server.log)


def test_many_who_list_a_large_run_at_once_hold_up_no_other_call(with_runs: Server) -> None:
    line = json.dumps(record("rNUMBER", model_response="x" * 2_000)) + "\n"
    put_run(with_runs, "large", []).write_text("".join(line.replace("NUMBER", str(number)) for number in range(40_000)))
    with Judged(with_runs, "20 lists of a run of 100 MB"):
        asked = [with_runs.stub.ListRuns.future(pb.ListRunsRequest(), timeout=60) for _ in range(20)]
        assert all(one.result().runs[0].candidate_count == 40_000 for one in asked)
