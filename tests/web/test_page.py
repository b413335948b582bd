"""The review page in a real Chromium: a reviewer, two reviewers, and everything beside the review."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import ROOT, Json, Server, eventually, record, write_records
from tests.web.browser_programs import FRONTS, FULL, Program, lease_of, page_of

PAGE = ROOT / "clients/python/avocet_client/web/page"
BUDGET_BYTES = 90_000
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
"""A directory that gets pictures of the page."""
COUNT = 50 if FULL else 14
KINDS = ["bridge", "envoy"] if FULL else ["bridge"]
pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("browser")]


def candidates(count: int) -> list[Json]:
    return [record(f"c{n:02d}", model_response=f"Answer {n}.") for n in range(count)]


def test_what_is_typed_right_after_the_key_of_the_editor_is_text(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, [record(f"c{n}", model_response="") for n in range(4)])
    eventually(lambda: server.stats().total == 4)
    with page_of(server, tmp_path) as address, Program("ahead.mjs", address) as browser:
        assert browser.lines() == [["dfsu", "c0"]]
    assert dict(server.stats().by_status) == {"needs_review": 4}


@pytest.mark.parametrize("kind", KINDS)
def test_a_reviewer_with_a_keyboard_alone_decides_everything(kind: str, tmp_path: Path) -> None:
    with FRONTS[kind](tmp_path, candidates(COUNT)) as front, front.program("review.mjs") as reviewer:
        server, kim, lee = front.server, front.stubs["kim"], front.stubs["lee"]
        assert reviewer.said() == ["first", "c00", True]
        assert "".join(reviewer.said()[1]) == " And blue light scatters most."
        assert reviewer.said() == ["corrected", "c01"]
        assert reviewer.said() == ["skipped", "c03", "c04"]
        assert reviewer.said() == ["undone", "Answer 0. And blue light scatters most.", True]
        assert reviewer.said() == ["draft", "c01", "a draft of mine d f s u"]
        assert reviewer.said() == ["undone after a reload", "Answer 0. And blue light scatters most."]
        assert reviewer.said() == ["its draft again", "c01", "a draft of mine d f s u"]
        assert dict(lee.Stats(pb.StatsRequest()).by_status) == {"needs_review": COUNT - 1, "discarded": 1}

        server.listen = server.address
        server.kill()
        reviewer.go_on()
        assert reviewer.said() == ["away", "a draft of mine d f s u"]
        server.start()
        reviewer.go_on()
        assert reviewer.said() == ["stored after the restart", "c02"]

        claims = reviewer.said()[1]
        if kind == "bridge":  # a stub of the server that came back
            kim = lee = server.stub
        kim.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[lease_of(claims, "c02")]))
        lee.Submit(pb.SubmitRequest(id="c02", action=pb.ACTION_FLAG, reviewer="lee"))
        reviewer.go_on()
        where, shown, told = reviewer.said()
        assert (where, shown) == ("conflict", "c03")
        assert "Somebody else" in told and "c02: it is now model rejected" in told

        where, shown, claims = reviewer.said()
        assert (where, shown) == ("typing", "c03")
        kim.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[lease_of(claims, "c03")]))
        (claim,) = lee.Claim(pb.ClaimRequest(reviewer="lee")).claims
        assert claim.candidate.id == "c03"
        reviewer.go_on()
        where, shown, told = reviewer.said()
        assert where == "lost" and shown not in ("", "c03") and "c03: it is now with lee" in told
        assert reviewer.said() == ["its draft", "too late"]
        assert reviewer.said() == ["done", "Others are at work on what is left"]
        lee.Submit(pb.SubmitRequest(id="c03", action=pb.ACTION_DISCARD, lease_id=claim.lease_id))
        reviewer.go_on()
        assert reviewer.said() == ["all done", "Nothing is left to review"]
        assert reviewer.said() == ["statistics", [f"By {of}" for of in COUNTED]]
        assert reviewer.said() == ["seen", [], [], []]
        counts = dict(lee.Stats(pb.StatsRequest()).by_status)
        assert sum(counts.values()) == COUNT and "needs_review" not in counts and counts["approved"] > 2
        approved = {item.id: item for item in listed(lee, pb.CANDIDATE_STATUS_APPROVED)}
        assert approved["c01"].corrected_response == "a draft of mine d f s u"
        rest = [item for id, item in approved.items() if id != "c01"]
        assert all(item.corrected_response.endswith(" Better.") and item.failure_category for item in rest)
        if kind == "envoy":
            assert {item.reviewed_by for item in approved.values()} == {"kim"}


COUNTED = ("status", "model", "task type", "source", "failure category")


def listed(stub: Any, status: Any) -> list[pb.Candidate]:
    request = pb.ListCandidatesRequest(statuses=[status], page_size=500)
    return list(stub.ListCandidates(request).items)


@pytest.mark.parametrize("kind", KINDS)
def test_two_reviewers_at_once_never_meet_and_decide_everything(kind: str, tmp_path: Path) -> None:
    with FRONTS[kind](tmp_path, candidates(COUNT)) as front:
        with front.program("decide.mjs", "kim") as kim, front.program("decide.mjs", "lee") as lee:
            assert (kim.said(), lee.said()) == ("ready", "ready")
            kim.go_on()
            lee.go_on()
            met = {"kim": kim.said(), "lee": lee.said()}
            assert kim.said() == lee.said() == ["seen", [], [], []]
        assert sorted(met["kim"] + met["lee"]) == [f"c{n:02d}" for n in range(COUNT)]
        assert met["kim"] and met["lee"]
        counts = dict(front.stubs["lee"].Stats(pb.StatsRequest()).by_status)
        assert sum(counts.values()) == COUNT and set(counts) == {"discarded", "model_rejected"}
        if kind == "envoy":
            decided = listed(front.stubs["lee"], pb.CANDIDATE_STATUS_DISCARDED)
            assert all(item.id in met[item.reviewed_by] for item in decided)


def test_a_claim_that_ends_is_told_at_its_renewal_and_the_text_is_kept(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, candidates(2))
    eventually(lambda: server.stats().total == 2)
    with page_of(server, tmp_path) as address, Program("lost.mjs", address) as reviewer:
        id, claims = reviewer.said()
        server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[lease_of(claims, id)]))
        (claim,) = server.stub.Claim(pb.ClaimRequest(reviewer="lee")).claims
        assert claim.candidate.id == id
        reviewer.go_on()
        assert reviewer.said() == ["told", "Answer 0. more"]
        server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[claim.lease_id]))
        reviewer.go_on()
        assert reviewer.said() == ["again", id, "Answer 0. more"]
        assert reviewer.said() == ["what was done", 1]
        assert reviewer.said() == ["seen", [], [], []]
    assert dict(server.stats().by_status) == {"needs_review": 1, "approved": 1}


def test_a_page_that_is_closed_lets_go_of_what_it_holds(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, candidates(9))
    eventually(lambda: server.stats().total == 9)
    with page_of(server, tmp_path) as address, Program("leave.mjs", address) as reviewer:
        assert reviewer.said() == "open"
        assert server.stats().claimed >= 5
        reviewer.go_on()
        assert reviewer.said() == "closed"
        eventually(lambda: server.stats().claimed == 0)


def test_runs_search_history_figures_and_snapshots_have_their_views(server: Server, tmp_path: Path) -> None:
    (server.runs / "2026-01-01").mkdir()
    write_records(
        server.runs / "2026-01-01" / "sft_candidates.jsonl",
        [record("r1", status="discarded", benchmark_run_id="2026-01-01")],
    )
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(server.runs))))
    with page_of(server, tmp_path) as address, Program("views.mjs", address) as browser:
        lines = browser.lines()
    for line, counts in zip(lines, ("4 imported, 0 known already", "0 imported, 4 known already"), strict=False):
        assert line == ["upload", f"night: {counts}, 1 malformed line", ["line 5"]]
    assert lines[2][0] == "import" and "imported already" in lines[2][1]
    assert lines[3:] == [
        ["filtered", "#/?model=Stork", "c"],
        ["by category", "No candidate matches"],
        ["found", ["a", "b", "c", "d"]],
        ["history", ["flagged", "imported"]],
        ["fields", ["failure_category", "reviewed_at", "reviewed_by", "status"]],
        ["decided", [["discarded", "d"], ["flagged", "c"]]],
        ["after the undo", [["undone", "c"], ["discarded", "d"], ["flagged", "c"]]],
        ["left to undo", ["d"]],
        ["reviewed", "#/", "c"],
        ["snapshot", "monday 1 example"],
        ["seen", [], []],
    ]
    assert dict(server.stats().by_status) == {"needs_review": 2, "approved": 1, "discarded": 2}


def test_each_filter_colours_motion_long_lists_and_the_end_of_the_queue_are_as_a_reviewer_expects(
    server: Server, tmp_path: Path
) -> None:
    for n in range(25):
        run = server.runs / f"run-{n:02}"
        run.mkdir()
        write_records(run / "sft_candidates.jsonl", [record(f"r{n}", benchmark_run_id=run.name)])
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(server.runs))))
    candidates = [
        record("n", benchmark_run_id="night", quality_score=0.5),
        record("f", source="field", quality_score=0.5),
        record("h", quality_score=0.9),
        record("l", quality_score=0.1),
    ]
    write_records(server.candidates, candidates)
    eventually(lambda: server.stats().total == 4)
    with page_of(server, tmp_path) as address, Program("filters.mjs", address) as browser:
        lines = browser.lines()
    assert lines[:4] == [
        ["run", "#/?run=night", "n"],
        ["source", "#/?source=field", "f"],
        ["score from", "#/?min=0.75", "h"],
        ["to", "#/?max=0.25", "l"],
    ]
    assert lines.pop(4) == ["you", "robin"]
    assert lines[4:7] == [["colours", "dark", "dark"], ["colours", "light", "light"], ["colours", "", "light dark"]]
    assert lines[7] == ["motion", "breathe", "none"]
    assert lines[8] == ["runs", [20, 25], 0]
    assert lines[9][1][0].startswith("You decided 4 in this session.")
    assert "4 candidates in all, 0 examples ready: avocet export" in lines[9][1][1]
    assert lines[9][2] == "#/runs"
    assert lines[10] == ["seen", [], []]
    assert dict(server.stats().by_status) == {"discarded": 4}


def test_a_correction_may_be_tool_calls(server: Server, tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    tools = [{"type": "function", "function": {"name": name}} for name in ("weather", "time")]
    response = {"role": "assistant", "content": None, "tool_calls": [call]}
    write_records(server.candidates, [record("t1", model_response=response, tools=tools)])
    eventually(lambda: server.stats().total == 1)
    with page_of(server, tmp_path) as address, Program("tools.mjs", address) as browser:
        lines = browser.lines()
    assert lines[0] == ["begins with", [call["function"]]]
    assert "Oslo" in "".join(lines[1][1]) and "Bergen" in "".join(lines[1][2])
    assert lines[2:] == [
        ["draft", ["weather", "time"]],
        ["fault", "The arguments of call 2 are not JSON.", "t1"],
        ["undone", "Two calls.", 2],
        ["seen", [], [], []],
    ]
    (approved,) = next(iter(server.stub.StreamExport(pb.StreamExportRequest()))).examples
    assert approved.messages[-1].content == "Two calls."
    calls = json.loads(approved.messages[-1].extra_json)["tool_calls"]
    assert [one["function"]["name"] for one in calls] == ["weather", "time"]
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Bergen"}


POINTS = [
    ["skeleton", "hidden", "visible", "Reading the queue"],
    ["then", 0, "p00"],
    ["chips", ["Heron", "sum", "night", "score 0.26", "too short", "1 with the same prompt", "p00"]],
    ["copied", "p00"],
    ["system prompt", None, False],
    ["link", "noopener noreferrer", "(https://example.org/sea)"],
    ["raw", True],
    ["a long block scrolls by itself", True],
    ["nothing was decided", "p00", 0],
    ["preview", True, True],
    ["halves", True, True],
    ["older draft", 0],
    ["used", "older"],
    ["read ahead", [f"p{n:02d}" for n in range(1, 10)]],
    ["filters", True, "p00"],
    ["undone from the header", "p00", 0],
    ["cleared", "#/?order=timestamp"],
    ["back", True],
    ["seen", [], [], []],
]


def test_each_promise_of_the_page_is_kept(server: Server, tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a sea?\n\n" * 80}]
    first = record(
        "p00",
        **{"model_name": "Heron", "task_type": "sum", "benchmark_run_id": "night", "quality_score": 0.256},
        **{"failure_reason": "too short", "prompt_messages": prompt},
        model_response="See [the sea](https://example.org/sea).\n\nEnd.  ",
    )
    same = record("p01", prompt_messages=prompt, task_type="other")
    others = [record(f"p{n:02d}", task_type="other", model_response=f"Answer {n}.") for n in range(2, 30)]
    write_records(server.candidates, [first, same, *others])
    eventually(lambda: server.stats().total == 30, within=30)
    with page_of(server, tmp_path) as address, Program("points.mjs", address) as browser:
        assert browser.lines() == POINTS
    assert dict(server.stats().by_status) == {"needs_review": 29, "discarded": 1}


def test_ten_are_claimed_ahead_and_more_when_three_are_left(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, candidates(40))
    eventually(lambda: server.stats().total == 40, within=30)
    with page_of(server, tmp_path) as address, Program("ahead_of_time.mjs", address) as reviewer:
        for claimed in (10, 5, 14):
            assert reviewer.said() == "settled"
            assert server.stats().claimed == claimed
            reviewer.go_on()
        assert reviewer.said() == "left"
        eventually(lambda: server.stats().claimed == 0, within=30)


LATE: dict[str, list[Any]] = {
    "the next ones are read, undone meanwhile": ["0", "mine"],
    "the first ones are read, undone meanwhile after a reload": ["0", "mine"],
    "a decision, undone before its answer": ["0", None],
    "a decision that fails, with an undo before its answer": ["1", None],
    "a decision whose answer is lost, sent again": ["1", None],
    "a decision, other filters before its answer": ["-other0", "typed"],
    "a decision that somebody else was faster with, other filters before its answer": ["-other0", "typed"],
    "two undos, the second before the first is answered": ["0", None],
    "a decision, a reload before its answer": ["0", "mine"],
    "the next ones are read, the last one skipped": ["0", "mine"],
    "a claim is told to be lost, skipped meanwhile": ["1", "typed", 0],
    "a candidate that was looked up is held, typed meanwhile": ["1", "typed"],
}
"""Which order of events the page goes through: with what it shows in the end, and the text in its editor."""


def test_an_answer_that_comes_late_changes_nothing_that_is_shown_by_then(server: Server, tmp_path: Path) -> None:
    counts = {0: 1, 1: 1, 9: 1}
    tasks = {f"t{n}": counts.get(n, 3) for n in range(len(LATE))} | {f"t{n}-other": 2 for n in range(len(LATE))}
    records = [
        record(f"{task}{n}", task_type=task, model_response="", prompt_messages=[{"role": "user", "content": task}])
        for task, count in tasks.items()
        for n in range(count)
    ]
    write_records(server.candidates, records)
    eventually(lambda: server.stats().total == len(records), within=30)
    found: dict[str, list[Any]] = {}
    with page_of(server, tmp_path) as address, Program("late.mjs", address) as browser:
        for number, name in enumerate(LATE):
            said = browser.said()
            if said[0] in ("decide", "release"):
                _, id, claims = said
                server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[lease_of(claims, id)]))
                if said[0] == "decide":
                    server.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_FLAG, reviewer="lee"))
                browser.go_on()
                said = browser.said()
            assert said[0] == name
            found[name] = [said[1].removeprefix(f"t{number}"), *said[2:]]
        assert browser.said() == ["seen", []]
    assert found == LATE
    lost = {"t30": "discarded", "t31": "discarded"}  # the second decision was stored; its answer changed on its way
    one = {task: {f"{task}0": "discarded"} for task in ("t4", "t5")}
    decided = {"t0": {}, "t2": {}, "t3": lost, **one, "t7": {}, "t8": {}}
    for task, statuses in decided.items():
        listed = server.stub.ListCandidates(pb.ListCandidatesRequest(filter=pb.CandidateFilter(task_types=[task])))
        assert {item.id: pb.CandidateStatus.Name(item.status) for item in listed.items} == {
            f"{task}{n}": f"CANDIDATE_STATUS_{statuses.get(f'{task}{n}', 'needs_review').upper()}"
            for n in range(tasks[task])
        }


def test_the_page_is_legible_for_everybody_in_light_and_dark_wide_and_narrow(server: Server, tmp_path: Path) -> None:
    response = "The sky is **blue** because of the `sea`:\n\n- it reflects\n- it is [deep](https://example.org/sea)\n"
    write_records(server.candidates, [record(f"c{n}", model_response=response) for n in range(50)])
    eventually(lambda: server.stats().total == 50)
    better = response.replace("because of the `sea`", "because air scatters *blue* light most")
    correction = pb.SubmitRequest(id="c49", action=pb.ACTION_CORRECT, corrected_response=better, reviewer="lee")
    server.stub.Submit(correction)
    server.stub.Submit(pb.SubmitRequest(id="c48", action=pb.ACTION_DISCARD, reviewer="kim"))
    variables = {"AVOCET_SCREENSHOTS": SCREENSHOTS} if SCREENSHOTS else {}
    with page_of(server, tmp_path) as address, Program("look.mjs", address, **variables) as browser:
        found = browser.lines()
    assert len(found) == 28
    for scheme, width, view, violations, is_too_wide, messages in found:
        assert (violations, is_too_wide, messages) == ([], False, []), f"{scheme} {width} {view}"


@pytest.mark.skipif(not FULL, reason="it measures; make test-page shows its figures")
def test_how_soon_the_first_candidate_is_there_and_how_long_a_frame_is_while_somebody_types(
    server: Server, tmp_path: Path
) -> None:
    text = " ".join(f"word{n:05d}" for n in range(10_000))
    write_records(server.candidates, [record("c00", model_response=text), *candidates(9)[1:]])
    eventually(lambda: server.stats().total == 9)
    with page_of(server, tmp_path) as address, Program("speed.mjs", address) as browser:
        (found,) = browser.lines()
    print(found)
    assert len(found["firstCandidateMs"]) == 10 and found["typed"]


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    files = sorted(PAGE.iterdir())
    assert [path.name for path in files] == ["app.css", "app.js", "index.html"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= BUDGET_BYTES
    index = (PAGE / "index.html").read_text()
    assert "http" not in index and "<style" not in index and index.count("<script") == 1
