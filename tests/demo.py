"""A session with the service from end to end: `make demo`, or `python -m tests.demo`."""

from __future__ import annotations

from pathlib import Path

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, bearer, eventually, make_run, records, temporary_directory

RUN = "2025-03-01-120000"


def say(step: str, outcome: str = "") -> None:
    print(f"{step:<46} {outcome}", flush=True)


def review(server: Server) -> None:
    """One of each decision, and an undo."""
    stub = server.stub
    items = stub.Queue(pb.QueueRequest(order=pb.ORDER_QUALITY)).items
    say("queue, worst quality first", ", ".join(f"{i.id} ({i.quality_score:.2f})" for i in items))
    first, second, third = (item.id for item in items[:3])
    request = pb.SubmitRequest(
        id=first,
        action=pb.ACTION_CORRECT,
        corrected_response="Air scatters blue light more than red light.",
        failure_category=pb.FAILURE_CATEGORY_WRONG_ANSWER,
        reviewer="kim",
        request_id="demo-1",
    )
    say(f"correct {first}", word(stub.Submit(request).candidate))
    again = stub.Submit(request).candidate
    say("the same request_id again", f"{word(again)}, still revision {again.revision}")
    discarded = stub.Submit(pb.SubmitRequest(id=second, action=pb.ACTION_DISCARD, reviewer="kim")).candidate
    say(f"discard {second}", word(discarded))
    flagged = stub.Submit(pb.SubmitRequest(id=third, action=pb.ACTION_FLAG, reviewer="kim")).candidate
    say(f"flag {third}", word(flagged))
    say(f"undo {second}", word(stub.Undo(pb.UndoRequest(id=second)).candidate))


def word(candidate: pb.Candidate) -> str:
    return pb.CandidateStatus.Name(candidate.status).removeprefix("CANDIDATE_STATUS_").lower()


def export(server: Server) -> None:
    for response in server.stub.StreamExport(pb.StreamExportRequest()):
        for example in response.examples:
            say(f"  example {example.id}", f"{example.messages[-1].content!r} instead of {example.rejected!r}")
        if response.HasField("summary"):
            say("  summary", f"{response.summary.example_count} examples, sha256 {response.summary.ids_sha256[:16]}...")


def main() -> None:
    with temporary_directory() as directory:
        server = Server(Path(directory))
        make_run(server.runs, RUN, count=4)
        server.start()
        try:
            say("server listens on", server.address)
            server.set_runs_directory()
            say("runs", ", ".join(run.run_id for run in server.stub.ListRuns(pb.ListRunsRequest()).runs))
            say(f"import {RUN}", f"{server.stub.Import(pb.ImportRequest(run_id=RUN)).imported} candidates")
            review(server)
            correction = pb.IngestRequest(
                source="peregrine",
                task_type="summary",
                prompt="Sum up.",
                response="No.",
                correction="In short, yes",
            )
            say("ingest from peregrine", server.stub.Ingest(correction, metadata=bearer()).id)
            say("export")
            export(server)
            say("stats", ", ".join(f"{n} {status}" for status, n in sorted(server.stats().by_status.items())))
            eventually(lambda: len(records(server.approved)) == 2)
            say("the approved file, for a plain reader", f"{len(records(server.approved))} records")
            say("stopped, exit code", str(server.stop()))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
