"""Builds that are broken on purpose, each in one way, and the test that catches it.

`python -m tests.faults.sabotage serve ...` is the command `avocet-grpc` of such a build. With SABOTAGE=NAME in the
environment the tests' servers are started so, and what the tests run in their own process is sabotaged too. The mirror
is broken by its disk, its clock and its commands alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avocet_grpc.core import idempotency
from avocet_grpc.core.errors import StorageFailed, StorageFull
from avocet_grpc.core.ports.mirror import How, Outcome, Verdict
from avocet_grpc.mirror.fs.disk import Disk, Lease
from avocet_grpc.mirror.inbound import look, reconcile
from avocet_grpc.processes import child
from avocet_grpc.store.sql.mirror import SqlMirrorLedger
from avocet_grpc.store.sqlite import condition, engine, failure, session, writer
from avocet_grpc.telemetry import failpoints

VARIABLE = "SABOTAGE"
CHILD = "child"


@dataclass(frozen=True, slots=True)
class Sabotage:
    """`break_it` changes one thing; the test `caught_by` then fails, with `shown` (a regular expression) in its output.

    `examples`: of a test in rounds, how many it gets to find it; None for as many as it has in its short form. `slow`:
    it is caught by waiting for long, or by trying much, and so left to `make test-faults`.
    """

    break_it: Callable[[], None]
    caught_by: str
    shown: str
    examples: int | None = None
    slow: bool = False


def put(place: Any, name: str, value: Any) -> None:
    """Replace what must be there."""
    before = getattr(place, name)
    setattr(place, name, value)
    assert getattr(place, name) is not before, f"{name} was not replaced"


def nothing(*_: Any, **__: Any) -> None:
    """Stands for what is left out."""


def path_of(descriptor: int) -> str:
    """The name of an open file."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def acknowledge_before_the_commit() -> None:
    hit = failpoints.hit

    def answer_too_early(name: str) -> None:
        if name == "commit.before":
            here = sys._getframe(1).f_locals
            for group, found in zip(here["groups"], here["outcomes"], strict=True):
                group.answer(found)
                group.future = Future()
            time.sleep(0.02)
        hit(name)

    put(failpoints, "hit", answer_too_early)


def go_on_after_a_failed_sync() -> None:
    put(condition.Condition, "fail", nothing)


def believe_a_ledger_without_its_seal() -> None:
    put(engine, "refuse_if_damaged", lambda path: True)


def leave_checkpoints_to_sqlite() -> None:
    put(engine, "WRITING", tuple(setting for setting in session.WRITING if "autocheckpoint" not in setting))
    put(writer.Checkpoint, "run_if_due", nothing)


def take_a_full_disk_for_a_failure() -> None:
    meaning = failure.meaning

    def failed(*arguments: Any) -> Any:
        known = meaning(*arguments)
        return StorageFailed("full") if isinstance(known, StorageFull) else known

    put(condition, "meaning", failed)


def do_not_sync_the_ledger() -> None:
    connect = session.connect

    def without_sync(*arguments: Any, **named: Any) -> Any:
        db = connect(*arguments, **named)
        db.execute("PRAGMA synchronous = OFF")
        return db

    put(engine, "connect", without_sync)


def forget_request_ids() -> None:
    put(idempotency, "keep", nothing)


def patch_without_a_lease() -> None:
    put(Disk, "write_lease", lambda self, descriptor: Lease.GRANTED)


def replace_instead_of_exchange() -> None:
    def plain(self: Disk, one: Path, other: Path) -> bool:
        os.replace(one, other)
        return True

    put(Disk, "exchange", plain)


def do_not_drain() -> None:
    take_in = SqlMirrorLedger.take_in

    def without_late_lines(self: Any, epoch: Any, file: Any, lines: Any, how: How, *, trusted: bool) -> Any:
        if how is How.LATE:
            return [Outcome(Verdict.STALE, None) for _ in lines]
        return take_in(self, epoch, file, lines, how, trusted=trusted)

    put(SqlMirrorLedger, "take_in", without_late_lines)


def do_not_sync_the_directory() -> None:
    put(Disk, "sync_directory", nothing)


def let_an_old_file_serve_again_as_it_is() -> None:
    write = Disk.write

    def without_blanks(self: Disk, descriptor: int, data: bytes, offset: int) -> int:
        is_old = ".displaced" in path_of(descriptor) or ".new" in path_of(descriptor)
        return len(data) if is_old and data.isspace() else write(self, descriptor, data, offset)

    put(Disk, "write", without_blanks)


def write_to_an_old_file_that_somebody_reads() -> None:
    write_lease = Disk.write_lease

    def granted(self: Disk, descriptor: int) -> Lease:
        return Lease.GRANTED if ".displaced" in path_of(descriptor) else write_lease(self, descriptor)

    put(Disk, "write_lease", granted)


def skip_reconcile() -> None:
    take_in = SqlMirrorLedger.take_in

    def only_appended(self: Any, epoch: Any, file: Any, lines: Any, how: How, *, trusted: bool) -> Any:
        if how is How.REWRITTEN:
            return [Outcome(Verdict.STALE, None) for _ in lines]
        return take_in(self, epoch, file, lines, how, trusted=trusted)

    put(SqlMirrorLedger, "take_in", only_appended)
    for name in ("accept_edits", "accept_deletions"):
        put(SqlMirrorLedger, name, overrule_all)


def overrule_all(self: Any, epoch: Any, file: Any, what: Any, **_: Any) -> list[Outcome]:
    """A command that accepts nothing."""
    ids = [one.id if hasattr(one, "id") else one[0] for one in what]
    with self.view() as view:
        now = view.changed(file, ids)
    return [Outcome(Verdict.OVERRULED, now.get(id)) for id in ids]


def take_a_truncated_file_at_its_word() -> None:
    put(reconcile, "is_damage", lambda *_, **__: False)
    put(reconcile, "is_fresh", lambda *_: False)
    put(look, "SETTLE_S", 0.0)


def believe_a_stale_rewrite() -> None:
    accept_edits = SqlMirrorLedger.accept_edits

    def believe(self: Any, epoch: Any, file: Any, edits: Any, *, trusted: bool) -> Any:
        known = [replace(edit, fresh=False) for edit in edits]
        return accept_edits(self, epoch, file, known, trusted=True)

    put(SqlMirrorLedger, "accept_edits", believe)


def believe_an_edit_of_an_older_version() -> None:
    accept_edits = SqlMirrorLedger.accept_edits

    def believe(self: Any, epoch: Any, file: Any, edits: Any, *, trusted: bool) -> Any:
        return accept_edits(self, epoch, file, [replace(edit, fresh=False) for edit in edits], trusted=trusted)

    put(SqlMirrorLedger, "accept_edits", believe)


def look_at_size_and_time_alone() -> None:
    for name in ("stat", "fstat"):
        look_at = getattr(Disk, name)

        def without_ctime(self: Disk, what: Any, look_at: Any = look_at) -> Any:
            found = look_at(self, what)
            return found and found._replace(ctime_ns=0)

        put(Disk, name, without_ctime)


def parse_a_line_before_its_end() -> None:
    put(look, "TORN_S", 0.0)


def write_behind_a_torn_line() -> None:
    put(look, "TORN_S", 0.0)
    append = Disk.append

    def without_newline(self: Disk, descriptor: int, data: bytes) -> int:
        skipped = data.startswith(b"\n")
        return append(self, descriptor, data[skipped:]) + skipped

    put(Disk, "append", without_newline)


FAULTS = "tests/faults/test_"
EDITS = f"{FAULTS}foreign_edits.py::test_an_edit_a_deletion_and_an_addition_are_accepted_while_it_runs"
LATE = "tests/mirror/displaced/test_kept_open.py::test_a_file_that_is_kept_open_is_swapped_and_a_late_line_is_saved"
REUSE = "tests/mirror/displaced/test_reuse.py::"
MACHINE = "tests/mirror/machine/test_state_machine.py::test_any_order_of_events_leaves_what_a_dict_says"
READERS = "tests/mirror/outbound/test_plain_reader.py::test_a_plain_reader_beside_decisions_and_foreign_appends_sees_whole_records_once"  # fmt: skip  # noqa: E501
REWRITER = f"{FAULTS}foreign_rewriter.py::test_every_acknowledged_decision_outlives_stale_rewrites_and_their_own_edits_are_kept"  # fmt: skip  # noqa: E501
TORN = f"{FAULTS}torn_lines.py::"

SABOTAGES: dict[str, Sabotage] = {
    "acknowledge before the commit": Sabotage(
        acknowledge_before_the_commit,
        f"{FAULTS}kill.py::test_nothing_is_lost_by_a_kill_at_the_failpoint[commit.before]",
        "wrong:|exit 5",
    ),
    "go on after a failed sync": Sabotage(
        go_on_after_a_failed_sync,
        f"{FAULTS}storage_fails.py::test_a_failed_sync_of_the_journal_acknowledges_nothing_more_and_is_not_tried_again",
        "AssertionError|TimeoutExpired",
        slow=True,
    ),
    "believe a ledger without its seal": Sabotage(
        believe_a_ledger_without_its_seal,
        f"{FAULTS}damaged_ledger.py::test_one_changed_byte_anywhere_in_the_ledger_is_refused_with_the_way_out",
        "TimeoutExpired|AssertionError",
        slow=True,
    ),
    "leave checkpoints to SQLite": Sabotage(
        leave_checkpoints_to_sqlite,
        f"{FAULTS}storage_fails.py::test_a_failed_sync_of_the_database_ends_the_service_too",
        "AssertionError|TimeoutExpired",
        slow=True,
    ),
    "take a full disk for a failure": Sabotage(
        take_a_full_disk_for_a_failure,
        f"{FAULTS}full_disk.py::test_a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room",
        "did not come about",
        slow=True,
    ),
    "do not sync the ledger": Sabotage(
        do_not_sync_the_ledger,
        f"{FAULTS}storage_fails.py::test_on_a_slow_disk_batches_grow_and_nothing_is_acknowledged_before_its_sync",
        "acknowledged before its sync",
        slow=True,
    ),
    "forget request ids": Sabotage(
        forget_request_ids,
        "tests/rpc/test_decisions.py::"
        "test_a_decision_repeated_with_its_request_id_gets_the_first_answer_also_after_a_restart",
        "NOT_IN_REVIEW|AssertionError|_InactiveRpcError",
    ),
    "patch without a lease": Sabotage(
        patch_without_a_lease, READERS, "twice|missing|unparsable|torn end|did not come about", examples=1_500
    ),
    "replace instead of exchange": Sabotage(replace_instead_of_exchange, LATE, "did not come about"),
    "do not drain": Sabotage(do_not_drain, LATE, "did not come about"),
    "let an old file serve again as it is": Sabotage(
        let_an_old_file_serve_again_as_it_is,
        f"{REUSE}test_a_displaced_file_that_serves_again_has_what_was_written_since",
        "AssertionError",
    ),
    "write to an old file that somebody reads": Sabotage(
        write_to_an_old_file_that_somebody_reads,
        f"{REUSE}test_a_displaced_file_that_somebody_reads_stays_as_it_is",
        "AssertionError",
    ),
    "do not sync the directory": Sabotage(
        do_not_sync_the_directory,
        f"{FAULTS}swap_is_durable.py::test_an_exchange_is_on_the_disk_before_the_ledger_relies_on_it",
        "the directory was not synced",
    ),
    "skip reconcile": Sabotage(skip_reconcile, EDITS, "did not come about"),
    "take a truncated file at its word": Sabotage(
        take_a_truncated_file_at_its_word,
        "tests/mirror/outbound/test_plain_reader.py::test_a_damaged_file_is_put_back_and_nothing_is_deleted[empty]",
        "AssertionError",
    ),
    "believe a stale rewrite": Sabotage(believe_a_stale_rewrite, REWRITER, "AssertionError", slow=True),
    "look at size and time alone": Sabotage(
        look_at_size_and_time_alone,
        f"{FAULTS}same_size_same_time.py::test_a_rewrite_of_the_same_size_and_time_is_noticed[stopped]",
        "Blue sky",
    ),
    "parse a line before its end": Sabotage(
        parse_a_line_before_its_end, f"{TORN}test_a_line_that_is_completed_after_a_pause_is_one_record", "malformed"
    ),
    "write behind a torn line": Sabotage(
        write_behind_a_torn_line,
        f"{TORN}test_a_line_that_is_given_up_counts_as_malformed_and_ours_begins_a_new_line",
        "AssertionError",
        slow=True,
    ),
    "forget request ids, found by the machine": Sabotage(
        forget_request_ids, MACHINE, "send_again", examples=100, slow=True
    ),
    "do not drain, found by the machine": Sabotage(do_not_drain, MACHINE, "AssertionError", examples=200, slow=True),
    "skip reconcile, found by the machine": Sabotage(skip_reconcile, MACHINE, "AssertionError", examples=60, slow=True),
    "take a truncated file at its word, found by the machine": Sabotage(
        take_a_truncated_file_at_its_word, MACHINE, "AssertionError", examples=60, slow=True
    ),
    "believe a stale rewrite, found by the machine": Sabotage(
        believe_a_stale_rewrite, MACHINE, "AssertionError", examples=200, slow=True
    ),
    "believe an edit of an older version, found by the machine": Sabotage(
        believe_an_edit_of_an_older_version, MACHINE, "AssertionError", examples=300, slow=True
    ),
}


def break_as_asked() -> None:
    """Do what the environment asks for, if it asks for anything."""
    if name := os.environ.get(VARIABLE):
        SABOTAGES[name].break_it()


def main() -> None:
    break_as_asked()
    if sys.argv[1:2] == [CHILD]:
        from avocet_grpc.processes.__main__ import main as process

        sys.exit(process(sys.argv[2:]))
    from avocet_grpc.cli.app import main as command

    # Its processes are to be broken too.
    put(child, "COMMAND", [sys.executable, "-m", "tests.faults.sabotage", CHILD])
    command()


if __name__ == "__main__":
    main()
