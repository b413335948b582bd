"""Whatever the service refuses, the page says why and what to do, keeps the text, and goes on once it can."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from google.rpc import status_pb2

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import error_reason_pb2
from avocet_grpc.core import errors
from avocet_grpc.edge.status import internal_status, status_of
from tests.support import Server, eventually, record, write_records
from tests.web.browser_programs import Program
from tests.web.refusing_server import RefusingServer
from tests.web.support import web_bridge

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("browser")]
AWAY = "The service does not answer; trying again every 2 s. Your text is kept."
ONCE = "Send it again: it cannot be stored twice."
FASTER = "Somebody else was faster"
DECISIONS: dict[str, tuple[status_pb2.Status, list[str]]] = {
    "INVALID_FIELD": (status_of(errors.InvalidField("corrected_response", "must be shorter")), ["must be shorter"]),
    "CANDIDATE_NOT_FOUND": (status_of(errors.CandidateNotFound("x")), [FASTER, "Your text is kept"]),
    "NOT_IN_REVIEW": (status_of(errors.NotInReview("approved")), [FASTER, "Your text is kept"]),
    "REVISION_MISMATCH": (status_of(errors.RevisionMismatch(7)), [FASTER, "Your text is kept"]),
    "CLAIMED": (status_of(errors.Claimed("lee", time.time())), [FASTER, "Your text is kept"]),
    "OVERLOADED": (status_of(errors.Overloaded()), ["nothing was stored", "The page tries again in"]),
    "STORAGE_FULL": (
        status_of(errors.StorageFull("full")),
        ["The disk of the service is full", "Reading goes on", "make room"],
    ),
    "STORAGE_FAILED": (status_of(errors.StorageFailed("failed")), [AWAY, ONCE]),
    "STORAGE_UNREACHABLE": (status_of(errors.StorageUnreachable("gone")), [AWAY, ONCE]),
    "SHUTTING_DOWN": (status_of(errors.ShuttingDown()), [AWAY, ONCE]),
    "CALL_TOO_LONG": (status_of(errors.CallTooLong()), ["longer than the server allows", ONCE]),
    "INTERNAL": (internal_status("one-correlation-id"), ["one-correlation-id", "Send it again", "hand the id on"]),
    "INGESTION_NOT_CONFIGURED": (status_of(errors.IngestionNotConfigured()), [AWAY]),
    "TOKEN_MISSING": (status_of(errors.TokenMissing()), ["token"]),
    "TOKEN_REFUSED": (status_of(errors.TokenRefused()), ["token"]),
}
"""A decision that is refused, and what the page says."""
VIEWS: dict[str, tuple[str, errors.CorrectionsError, dict[str, str]]] = {
    "ALREADY_IN_REVIEW": ("Undo", errors.AlreadyInReview(), {"hash": "#/candidate?id=decided", "button": "Undo the"}),
    "RUN_NOT_FOUND": ("Import", errors.RunNotFound("2026-01-01"), {"hash": "#/runs", "button": "Import 2026-01-01"}),
    "SNAPSHOT_NOT_FOUND": (
        "DeleteSnapshot",
        errors.SnapshotNotFound("one"),
        {"hash": "#/snapshots", "button": "Delete one"},
    ),
    "SNAPSHOT_EXISTS": (
        "CreateSnapshot",
        errors.SnapshotExists("one", 1),
        {"hash": "#/snapshots", "button": "Name what is approved now", "fill": "one"},
    ),
    "CONFIG_UNREADABLE": ("ListRuns", errors.ConfigUnreadable(), {"hash": "#/runs"}),
    "REVISION_EXPIRED": ("ListHistory", errors.RevisionExpired(), {"hash": "#/decided"}),
}
"""The method of another view that is refused, and where; the page says the service's own sentence."""


def test_every_reason_is_in_these_tables() -> None:
    """But for a lost claim: test_page.py has two, each with somebody else who takes the candidate."""
    reasons = {value.name.removeprefix("ERROR_REASON_") for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values}
    assert reasons - {"UNSPECIFIED"} == set(DECISIONS) | set(VIEWS) | {"CLAIM_LOST"}
    for reason, (status, _) in DECISIONS.items():
        assert reason in str(status), reason
    for reason, (_, error, _) in VIEWS.items():
        assert reason in str(status_of(error)), reason


def test_each_reason_is_told_with_what_to_do_and_the_text_is_kept(server: Server, tmp_path: Path) -> None:
    write_records(
        server.candidates, [record(f"c{n:02d}", model_response=f"Answer {n}.") for n in range(len(DECISIONS))]
    )
    (server.runs / "2026-01-01").mkdir()
    write_records(server.runs / "2026-01-01" / "sft_candidates.jsonl", [record("decided")])
    eventually(lambda: server.stats().total == len(DECISIONS), within=30)
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(server.runs))))
    server.stub.Import(pb.ImportRequest(run_id="2026-01-01"))
    server.stub.Submit(pb.SubmitRequest(id="decided", action=pb.ACTION_DISCARD, reviewer="lee"))
    server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="one"))
    cases = [{"told": words[0], "repeats": reason == "OVERLOADED"} for reason, (_, words) in DECISIONS.items()]
    views = [where | {"told": status_of(error).message} for _, error, where in VIEWS.values()]
    variables = {"AVOCET_DECISIONS": json.dumps(cases), "AVOCET_VIEWS": json.dumps(views)}
    with (
        RefusingServer(server.address) as between,
        web_bridge(tmp_path / "web", between.address, "--reviewer", "kim") as address,
        Program("reasons.mjs", f"{address}/", **variables) as browser,
    ):
        for number, (reason, (status, words)) in enumerate(DECISIONS.items()):
            assert browser.said() == ["ready", f"c{number:02d}"], reason
            between.refused["Submit"] = status
            browser.go_on()
            found = browser.said()
            said_at = "fault" if reason == "INVALID_FIELD" else "alert"
            assert all(each in found[said_at] for each in words), f"{reason}: {found}"
            assert found["kept"] == [f"c{number:02d}", f"Answer {number}. mine"], f"{reason}: {found}"
            assert found["asksForToken"] == reason.startswith("TOKEN"), f"{reason}: {found}"
            assert found["copies"] == (reason == "INTERNAL"), f"{reason}: {found}"
            between.refused.clear()
            browser.go_on()
            assert browser.said() == ["", 0], reason
        for reason, (method, error, where) in VIEWS.items():
            assert browser.said() == ["ready", where["hash"]], reason
            between.refused[method] = status_of(error)
            browser.go_on()
            assert browser.said() == ["told", where["hash"]], reason
            between.refused.clear()
    counts: dict[str, Any] = dict(server.stats().by_status)
    assert counts == {"approved": len(DECISIONS), "discarded": 1}


def test_where_no_claim_can_be_stored_what_is_in_review_is_read_and_decided_later(
    server: Server, tmp_path: Path
) -> None:
    write_records(server.candidates, [record(f"c{n:02d}") for n in range(25)])
    eventually(lambda: server.stats().total == 25, within=30)
    with RefusingServer(server.address) as between:
        between.refused["Claim"] = status_of(errors.StorageFull("full"))
        with (
            web_bridge(tmp_path / "web", between.address, "--reviewer", "kim") as address,
            Program("unclaimed.mjs", f"{address}/") as reviewer,
        ):
            where, read, is_told = reviewer.said()
            assert (where, len(set(read)), is_told) == ("read", 12, True)
            between.refused.clear()
            reviewer.go_on()
            assert reviewer.said() == ["decided", read[-1], False]
            assert reviewer.said() == ["seen", [], [], []]
    assert dict(server.stats().by_status) == {"needs_review": 24, "discarded": 1}
