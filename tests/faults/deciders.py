"""Reviewers that decide in a loop, and know what each acknowledged decision left."""

from __future__ import annotations

import random
import threading
import time

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server

STATUS = {pb.ACTION_CORRECT: "approved", pb.ACTION_DISCARD: "discarded", pb.ACTION_FLAG: "model_rejected"}


class Decider(threading.Thread):
    """Decides and undoes over `ids`, which are its alone. `state` is id -> (status, corrected response) as acknowledged.

    With `per_s` it makes so many decisions a second at most. `failed` keeps every error that a call ended with.
    """

    def __init__(self, server: Server, ids: list[str], seed: int, per_s: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.server, self.ids, self.per_s = server, ids, per_s
        self.random = random.Random(seed)
        self.state: dict[str, tuple[str, str | None]] = {id: ("needs_review", None) for id in ids}
        self.acknowledged = 0
        self.failed: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        next_at = time.monotonic()
        while not self.done.is_set():
            id = self.random.choice(self.ids)
            try:
                self._change(id)
            except grpc.RpcError as error:
                self.failed.append(f"{id}: {error}")
            if self.per_s:
                next_at += 1 / self.per_s
                time.sleep(max(0.0, next_at - time.monotonic()))

    def end(self) -> None:
        self.done.set()
        self.join(timeout=30)

    def _change(self, id: str) -> None:
        if self.state[id][0] != "needs_review":
            self.server.stub.Undo(pb.UndoRequest(id=id))
            self.state[id] = ("needs_review", None)
        else:
            action = self.random.choice(list(STATUS))
            text = f"correction {self.acknowledged} of {id}" if action == pb.ACTION_CORRECT else None
            self.server.stub.Submit(pb.SubmitRequest(id=id, action=action, corrected_response=text or ""))
            self.state[id] = (STATUS[action], text)
        self.acknowledged += 1


def differences(server: Server, state: dict[str, tuple[str, str | None]]) -> list[str]:
    """Where the candidates and approved files, as a plain reader sees them, are not as acknowledged."""
    from tests.faults.plain import read_plainly

    candidates, approved = (read_plainly(path.read_bytes()) for path in (server.candidates, server.approved))
    wrong = [f"twice in a file: {id}" for view in (candidates, approved) for id in view.twice()]
    for id, (status, text) in state.items():
        found = candidates.records.get(id)
        if found is None:
            wrong.append(f"missing: {id}")
            continue
        there = (found["status"], found["corrected_response"])
        if there != (status, text):
            wrong.append(f"{id} is {there} in the candidates file, not {(status, text)}")
        exported = approved.records.get(id, {}).get("corrected_response")
        if exported != text:
            wrong.append(f"{id} has {exported!r} in the approved file, not {text!r}")
    return wrong
