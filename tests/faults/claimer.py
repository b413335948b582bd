"""A reviewer's program, as a process of its own: claims candidates and decides them, and writes down all that it saw.

    python -m tests.faults.claimer ADDRESS LOG SEED

It ends when nothing is left in review. Some claims it leaves alone, some it renews, some it releases, and some it
decides when their time is over. Each line of the log is one event: what was asked when, and what came back when.
"""

from __future__ import annotations

import json
import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.support import failure_of_error

LEASE_SECONDS = 10
OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class Claimer:
    """One reviewer."""

    def __init__(self, address: str, log: TextIO, seed: int) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        self.stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel(address, options))
        self.reviewer, self.log, self.chance = f"reviewer-{seed}", log, random.Random(seed)
        self.left: list[pb.Claim] = []

    def run(self) -> None:
        """Go on until nothing is in review."""
        while self.call(lambda: self.stub.Queue(pb.QueueRequest(per_page=1))).total:
            claims = self.claim()
            for claim in claims:
                self.treat(claim)
            for claim in [one for one in self.left if one.expires_at.ToMilliseconds() / 1_000 < time.time()]:
                self.left.remove(claim)
                self.decide(claim)
            if not claims:
                time.sleep(0.2)

    def claim(self) -> list[pb.Claim]:
        request = pb.ClaimRequest(
            reviewer=self.reviewer,
            limit=self.chance.randint(1, 5),
            lease_seconds=LEASE_SECONDS,
            request_id=str(uuid.uuid4()),
        )
        began = time.time()
        claims = list(self.call(lambda: self.stub.Claim(request)).claims)
        for claim in claims:
            self.note("claim", began, claim, expires=claim.expires_at.ToMilliseconds() / 1_000)
        return claims

    def treat(self, claim: pb.Claim) -> None:
        what = self.chance.random()
        if what < 0.06:
            self.left.append(claim)
        elif what < 0.12:
            began = time.time()
            answer = self.call(lambda: self.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[claim.lease_id])))
            self.note("release", began, claim, done=answer.released == 1)
        else:
            if what < 0.3:
                self.renew(claim)
            self.decide(claim)

    def renew(self, claim: pb.Claim) -> None:
        began = time.time()
        request = pb.RenewClaimsRequest(lease_ids=[claim.lease_id], lease_seconds=LEASE_SECONDS)
        for renewed in self.call(lambda: self.stub.RenewClaims(request)).claims:
            self.note("renew", began, claim, expires=renewed.expires_at.ToMilliseconds() / 1_000)

    def decide(self, claim: pb.Claim) -> None:
        request = pb.SubmitRequest(
            id=claim.candidate.id,
            action=pb.ACTION_FLAG,
            lease_id=claim.lease_id,
            request_id=str(uuid.uuid4()),
        )
        began, reason = time.time(), ""
        try:
            self.call(lambda: self.stub.Submit(request))
        except grpc.RpcError as error:
            reason = failure_of_error(error).reason
        self.note("decide", began, claim, reason=reason)

    def call(self, call: Callable[[], Any]) -> Any:
        """The call's answer; while the server is away, again with the same request_id."""
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                refused: Any = error
                if refused.code() not in OUTAGE:
                    raise
                time.sleep(0.1)

    def note(self, event: str, began: float, claim: pb.Claim, **more: Any) -> None:
        line = {"event": event, "id": claim.candidate.id, "lease": claim.lease_id, "reviewer": self.reviewer}
        self.log.write(json.dumps(line | {"began": began, "ended": time.time()} | more) + "\n")
        self.log.flush()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w") as file:
        Claimer(sys.argv[1], file, int(sys.argv[3])).run()
