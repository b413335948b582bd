"""Callers that keep the ledger of acks: Submit, Undo, Ingest and Import over the real stubs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.faults.acks import APPROVED, NEEDS_REVIEW, Acks, Change, Known, State
from tests.support import Json, bearer, make_run, record

CODE = grpc.StatusCode
UNKNOWN = {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.CANCELLED, CODE.UNKNOWN, CODE.INTERNAL}
DEADLINE_S = 20.0


class Caller:
    """One caller with a connection of its own.

    `failures` counts its calls that ended with an error, by code; `answered` are the seconds that each of the others
    took. `runs` is where it makes benchmark runs to import; without it there are none.
    """

    def __init__(self, acks: Acks, address: str, runs: Path | None = None) -> None:
        self.acks = acks
        self.failures: dict[grpc.StatusCode, int] = {}
        self.answered: list[float] = []
        self._runs = runs
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
        self._channel = grpc.insecure_channel(address, options)
        self.stub = corrections_pb2_grpc.CorrectionsServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def act(self, dice: random.Random) -> bool:
        """One change of a kind chosen by the dice. True if it was acknowledged."""
        number = dice.random()
        if self._runs is not None and number > 0.99:
            return self.import_run(self._runs, 20)
        if number < 0.2:
            return self.ingest()
        return self.undo() if number < 0.4 else self.submit(dice.choice(["correct", "correct", "discard", "flag"]))

    def submit(self, action: str = "correct", known: Known | None = None) -> bool:
        """Decide on `known`, or on some record in review; without one, ingest."""
        known = known or self.acks.take(in_review=True)
        if known is None:
            return self.ingest()
        word = self.acks.name(action)
        request = pb.SubmitRequest(
            id=known.id,
            action=pb.Action.Value(f"ACTION_{action.upper()}"),
            reviewer=f"reviewer-{word}",
            request_id=f"request-{word}",
            corrected_response=word if action == "correct" else "",
        )
        return self._decide(known, Change(action, request.reviewer, request, _decided(known, action, word)))

    def undo(self, known: Known | None = None) -> bool:
        """Undo the decision on `known`, or on some record that is decided; without one, submit."""
        known = known or self.acks.take(in_review=False)
        if known is None:
            return self.submit()
        word = self.acks.name("undo")
        request = pb.UndoRequest(id=known.id, reviewer=f"reviewer-{word}", request_id=f"request-{word}")
        return self._decide(known, Change("undo", request.reviewer, request, _undone(known)))

    def ingest(self) -> bool:
        """Send a correction; the record's correction is the request's own word."""
        word = self.acks.name("ingest")
        request = ingest_request(word)
        change = Change("ingest", "ingestion-secret", request, State(APPROVED))
        try:
            answer = self.send(change)
        except grpc.RpcError as error:
            if self._is_unknown(error, word):
                self.acks.leave_new_unknown(change, [ingested(request, "")])
            else:
                self.acks.refuse()
            return False
        self.acks.acknowledge_new(change, [ingested(request, answer.id)])
        return True

    def import_run(self, runs: Path, count: int = 50) -> bool:
        """Make a benchmark run below `runs`, which the service knows as its directory, and import it."""
        run_id = self.acks.name("run")
        made = make_run(runs, run_id, count)
        change = Change("import", "", pb.ImportRequest(run_id=run_id), State(NEEDS_REVIEW))
        try:
            answer = self.send(change)
        except grpc.RpcError as error:
            if self._is_unknown(error, run_id):
                self.acks.leave_new_unknown(change, made)
            else:
                self.acks.refuse()
            return False
        if answer.imported != count:
            self.acks.wrong.append(f"{run_id}: {answer.imported} of {count} records imported")
        self.acks.acknowledge_new(change, made)
        return True

    def send(self, change: Change) -> Any:
        """The call of this change, for the first time or again; gives its answer. Raises grpc.RpcError."""
        method = {"undo": self.stub.Undo, "ingest": self.stub.Ingest, "import": self.stub.Import}
        started = time.monotonic()
        call: Any = method.get(change.action, self.stub.Submit)
        answer = call(change.request, metadata=bearer(), timeout=DEADLINE_S)
        self.answered.append(time.monotonic() - started)
        return answer

    def _decide(self, known: Known, change: Change) -> bool:
        try:
            candidate = self.send(change).candidate
        except grpc.RpcError as error:
            if self._is_unknown(error, known.id):
                self.acks.leave_unknown(known, change)
            else:
                self.acks.refuse(known)
            return False
        self.acks.acknowledge(known, change, candidate.revision)
        return True

    def _is_unknown(self, error: Any, about: str) -> bool:
        code = error.code()
        self.failures[code] = self.failures.get(code, 0) + 1
        if code not in UNKNOWN and code is not CODE.RESOURCE_EXHAUSTED:
            self.acks.wrong.append(f"{about}: {code}: {error.details()}")
        return code in UNKNOWN


class Load:
    """Callers in threads of their own, from `with` to its end or to their first unanswered call.

    `persistent`: they go on after failures, with a short pause. `pause_s` lies between two calls of a caller.
    """

    def __init__(
        self,
        acks: Acks,
        address: str,
        threads: int = 4,
        persistent: bool = False,
        pause_s: float = 0.0,
        runs: Path | None = None,
    ) -> None:
        self.acks = acks
        self.callers = [Caller(acks, address, runs) for _ in range(threads)]
        self._persistent = persistent
        self._pause_s = pause_s
        self._before = acks.acknowledged
        self._end = threading.Event()
        self._turns = [threading.Lock() for _ in self.callers]
        self._threads = [
            threading.Thread(target=self._run, args=(caller, turn, random.Random(f"{acks.seed}-{acks.name('caller')}")))
            for caller, turn in zip(self.callers, self._turns, strict=True)
        ]

    @property
    def acknowledged(self) -> int:
        """How many changes were acknowledged since this load began."""
        return self.acks.acknowledged - self._before

    def failures(self, code: grpc.StatusCode) -> int:
        """How many calls ended with this code."""
        return sum(caller.failures.get(code, 0) for caller in self.callers)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self.wait()
        for caller in self.callers:
            caller.close()

    def wait(self, timeout: float = 60) -> None:
        """Until every caller has ended."""
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a call did not end"

    def wait_for(self, count: int, timeout: float = 60) -> None:
        """Wait until `count` changes were acknowledged since this load began."""
        deadline = time.monotonic() + timeout
        while self.acknowledged < count:
            assert time.monotonic() < deadline, f"only {self.acknowledged} of {count} changes were acknowledged"
            time.sleep(0.005)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No call is under way while the `with` lasts."""
        with ExitStack() as stack:
            for turn in self._turns:
                stack.enter_context(turn)
            yield

    def _run(self, caller: Caller, turn: threading.Lock, dice: random.Random) -> None:
        try:
            while not self._end.is_set():
                failed = sum(caller.failures.values())
                with turn:
                    caller.act(dice)
                if sum(caller.failures.values()) > failed:
                    if not self._persistent:
                        return
                    time.sleep(0.05)
                time.sleep(self._pause_s)
        except Exception as error:
            self.acks.wrong.append(f"a caller ended with {error!r}")
            raise


def ingest_request(word: str) -> pb.IngestRequest:
    """The correction whose text is this word; its request_id follows from it."""
    return pb.IngestRequest(
        source="peregrine",
        task_type="code",
        prompt=f"prompt {word}",
        response="wrong",
        correction=word,
        request_id=f"request-{word}",
    )


def ingested(request: pb.IngestRequest, id: str) -> Json:
    """The record that this request makes, `timestamp` left out."""
    return {
        "id": id,
        "source": request.source,
        "task_type": request.task_type,
        "status": APPROVED,
        "prompt_messages": [{"role": "user", "content": request.prompt}],
        "model_response": request.response,
        "corrected_response": request.correction,
        "label": None,
        "benchmark_run_id": None,
    }


def candidates(count: int, prefix: str = "c", size: int = 0) -> list[Json]:
    """Records in review, each `size` bytes or a little more."""
    return [record(f"{prefix}{n:05d}", model_response="x" * size or "an answer") for n in range(count)]


def _decided(known: Known, action: str, word: str) -> State:
    reviewer: dict[str, str | None] = {"reviewed_by": f"reviewer-{word}"}
    if action == "correct":
        return _state(
            APPROVED, dict(known.state.fields) | {"corrected_response": word, "failure_category": None} | reviewer
        )
    return _state({"discard": "discarded", "flag": "model_rejected"}[action], dict(known.state.fields) | reviewer)


def _undone(known: Known) -> State:
    """As it was before its decision; by the defaults of `Undo` if the history has none (Ingest, other hands)."""
    if known.changes and known.changes[-1].action in ("correct", "discard", "flag"):
        return State(NEEDS_REVIEW, known.changes[-2].after.fields if len(known.changes) > 1 else ())
    fields = dict(known.state.fields) | {"corrected_response": None}
    if "failure_category" in known.original:
        fields["failure_category"] = None
    return _state(NEEDS_REVIEW, fields)


def _state(status: str, fields: dict[str, str | None]) -> State:
    return State(status, tuple(fields.items()))
