"""A session with the service from end to end: `make demo`, or `python -m tests.demo`."""

from __future__ import annotations

from pathlib import Path

from avocet_client import CorrectionsClient
from tests.support import ROOT, SECRET, Server, eventually, records, temporary_directory

RUNS = ROOT / "examples/bench"
RUN = "2025-03-01-120000"


def say(step: str, outcome: object = "") -> None:
    print(f"{step:<34} {outcome}".rstrip(), flush=True)


def review(client: CorrectionsClient) -> None:
    """One of each decision, a retry and an undo."""
    page = client.queue(order="quality", per_page=3)
    say("queue, worst quality first", f"{len(page.items)} of {page.total}")
    first, second, third = page.items
    for item in page.items:
        say(f"  {item.id} ({item.quality_score:.2f})", item.model_response)
    text = "It rises by 25 percent: 20 of 80."
    decision = {"corrected_response": text, "failure_category": "wrong_answer", "request_id": "demo-1"}
    for step in ("correct the first", "the same request again"):
        decided = client.submit(first.id, action="correct", reviewer="kim", **decision)  # type: ignore[arg-type]
        say(step, f"approved at revision {decided.revision}")
    client.submit(second.id, action="discard", reviewer="kim")
    client.submit(third.id, action="flag", reviewer="kim")
    client.undo(second.id, reviewer="kim")
    say("discard, flag, undo the discard", "done")


def export(client: CorrectionsClient) -> None:
    """Every approved example, as a trainer reads it."""
    examples = client.export()
    for example in examples:
        say(f"  prefer {example.messages[-1].content!r}", f"to {example.rejected!r}")
    say("export", f"{examples.consumed} examples, complete, pinned to revision {examples.revision}")


def session(server: Server, client: CorrectionsClient) -> None:
    """All steps."""
    client.set_config(bench_results_dir=str(RUNS))
    say("benchmark runs", ", ".join(run.run_id for run in client.list_runs().runs))
    say(f"import {RUN}", f"{client.import_run(RUN).imported} candidates")
    review(client)
    client.ingest(source="kiwi", task_type="qa", prompt="Sum up.", response="No.", correction="In short: yes.")
    say("a sibling service sends one", "stored and approved")
    export(client)
    counts = client.stats().by_status
    say("statistics", ", ".join(f"{counts[status]} {status}" for status in sorted(counts)))
    eventually(lambda: len(records(server.approved)) == 2)
    say("sft_approved.jsonl", f"{len(records(server.approved))} records, for any program")


def main() -> None:
    with temporary_directory() as directory:
        server = Server(Path(directory)).start()
        try:
            say("serving on", server.address)
            with CorrectionsClient(server.address, token=SECRET) as client:
                session(server, client)
            say("stopped, exit code", server.stop())
        finally:
            server.kill()


if __name__ == "__main__":
    main()
