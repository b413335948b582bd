"""Context managers that hold claims: they renew them, tell which were lost, and release the rest. Sync and async."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from avocet_client.calls import Call, submit
from avocet_client.claim_state import CALL_SECONDS, ClaimState
from avocet_client.connection import Metadata
from avocet_client.errors import CorrectionsError
from avocet_client.team_calls import release_claims, renew_claims
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import Action, FailureCategory

_log = logging.getLogger("avocet_client")


class _Held:
    """One claim that is held."""

    def __init__(self, claim: pb.Claim, state: ClaimState, carry_out: Callable[[Call[Any]], Any]) -> None:
        self.lease_id = claim.lease_id
        self.candidate = claim.candidate
        """The candidate as it was when it was claimed."""
        self.reviewer = claim.reviewer
        self._state = state
        self._carry_out = carry_out

    @property
    def lost(self) -> bool:
        """True once the claim is known to have ended. Somebody else may then be at work on the candidate."""
        return self.lease_id in self._state.lost


class HeldClaim(_Held):
    """One claim of a `Hold`: its `candidate`, its `lease_id`, and whether it was `lost`."""

    def submit(
        self,
        *,
        action: Action,
        corrected_response: str = "",
        corrected_message: Mapping[str, Any] | None = None,
        failure_category: FailureCategory | None = None,
        expected_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.Candidate:
        """Decide the candidate under this claim, which ends it. As `CorrectionsClient.submit`; raises ClaimLost."""
        call = submit(
            self.candidate.id,
            action=action,
            corrected_response=corrected_response,
            corrected_message=corrected_message,
            failure_category=failure_category,
            lease_id=self.lease_id,
            expected_revision=expected_revision,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        try:
            candidate: pb.Candidate = self._carry_out(call)
        except CorrectionsError as error:
            self._state.refused(self.lease_id, error)
            raise
        self._state.settle(self.lease_id)
        return candidate

    def release(self, *, postpone_seconds: int = 0, metadata: Metadata = ()) -> None:
        """End the claim without a decision. For `postpone_seconds` this reviewer's claims leave the candidate out.

        Raises InvalidField. After another error the claim is held on, and released when the block is left.
        """
        self._carry_out(_release_of([self.lease_id], postpone_seconds, metadata))
        self._state.settle(self.lease_id)


class AsyncHeldClaim(_Held):
    """One claim of an `AsyncHold`: its `candidate`, its `lease_id`, and whether it was `lost`."""

    async def submit(
        self,
        *,
        action: Action,
        corrected_response: str = "",
        corrected_message: Mapping[str, Any] | None = None,
        failure_category: FailureCategory | None = None,
        expected_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.Candidate:
        """Decide the candidate under this claim, which ends it. As `CorrectionsClient.submit`; raises ClaimLost."""
        call = submit(
            self.candidate.id,
            action=action,
            corrected_response=corrected_response,
            corrected_message=corrected_message,
            failure_category=failure_category,
            lease_id=self.lease_id,
            expected_revision=expected_revision,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        try:
            candidate: pb.Candidate = await self._carry_out(call)
        except CorrectionsError as error:
            self._state.refused(self.lease_id, error)
            raise
        self._state.settle(self.lease_id)
        return candidate

    async def release(self, *, postpone_seconds: int = 0, metadata: Metadata = ()) -> None:
        """End the claim without a decision. For `postpone_seconds` this reviewer's claims leave the candidate out.

        Raises InvalidField. After another error the claim is held on, and released when the block is left.
        """
        await self._carry_out(_release_of([self.lease_id], postpone_seconds, metadata))
        self._state.settle(self.lease_id)


Claim = TypeVar("Claim", bound=_Held)


class _Hold(Sequence[Claim], Generic[Claim]):
    """What both holds share: the sequence of the claims, and the calls that keep and end them."""

    def __init__(
        self, call: Call[list[pb.Claim]], carry_out: Callable[[Call[Any]], Any], postpone_seconds: int
    ) -> None:
        self._call = call
        self._carry_out = carry_out
        self._postpone_seconds = postpone_seconds
        self._state = ClaimState(call.request.lease_seconds)
        self._claims: list[Claim] = []

    @property
    def lost(self) -> list[Claim]:
        """The claims that ended before they were decided."""
        return [claim for claim in self._claims if claim.lost]

    def __len__(self) -> int:
        return len(self._claims)

    @overload
    def __getitem__(self, index: int) -> Claim: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Claim]: ...

    def __getitem__(self, index: int | slice) -> Claim | Sequence[Claim]:
        return self._claims[index]

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims)

    def _held(self, kind: Callable[..., Claim], claims: list[pb.Claim], asked: float) -> None:
        self._state.hold(claims, asked)
        self._claims = [kind(claim, self._state, self._carry_out) for claim in claims]

    def _renewal(self, lease_ids: list[str]) -> Call[pb.RenewClaimsResponse]:
        seconds, metadata = self._call.request.lease_seconds, self._call.metadata
        return renew_claims(lease_ids, lease_seconds=seconds, timeout=CALL_SECONDS, metadata=metadata)

    def _release(self) -> Call[pb.ReleaseClaimsResponse]:
        return _release_of(self._state.live, self._postpone_seconds, self._call.metadata)

    def _renewal_failed(self, error: Exception) -> None:
        _log.warning("claims could not be renewed, and it is tried again: %s", error)
        self._state.failed(time.monotonic())


class Hold(_Hold[HeldClaim]):
    """The claims that a `with` block holds: a sequence of `HeldClaim`, empty if nothing was left to claim.

    A thread renews them until the block is left. Then those that were not decided are released, also after an error
    or an interrupt. If that fails they end by themselves when their lease does.
    """

    def __enter__(self) -> Hold:
        asked = time.monotonic()
        try:
            self._held(HeldClaim, self._carry_out(self._call), asked)
        except Exception:
            raise
        except BaseException:
            self._give_back()
            raise
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="avocet-claims", daemon=True)
        if self._claims:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if not self._claims:
            return
        self._thread.join()
        self._release_all()

    def _give_back(self) -> None:
        """The claim was interrupted: release what the service has handed out, which the same request id names."""
        with contextlib.suppress(CorrectionsError):
            claims = self._carry_out(replace(self._call, timeout=CALL_SECONDS))
            self._held(HeldClaim, claims, time.monotonic())
            self._release_all()

    def _release_all(self) -> None:
        if self._state.live:
            try:
                self._carry_out(self._release())
            except CorrectionsError as failed:
                _log.warning("claims were not released; they end by themselves: %s", failed)

    def _renew(self) -> None:
        while not self._left.wait(self._state.seconds_until_renewal(time.monotonic())):
            asked = time.monotonic()
            if not (lease_ids := self._state.renewal(asked)):
                return
            try:
                self._state.renewed(self._carry_out(self._renewal(lease_ids)), asked)
            except Exception as error:  # whatever it was, the leases run out, and their holder has to be told
                self._renewal_failed(error)


class AsyncHold(_Hold[AsyncHeldClaim]):
    """`Hold` for asyncio, as `async with`: a task renews the claims. Leaving it releases them, also when cancelled."""

    async def __aenter__(self) -> AsyncHold:
        self._task = asyncio.create_task(self._claim(), name="avocet-claims")
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self._task.add_done_callback(self._release_late)
            raise
        self._task = asyncio.create_task(self._renew(), name="avocet-claims")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._release_all()

    async def _claim(self) -> None:
        asked = time.monotonic()
        self._held(AsyncHeldClaim, await self._carry_out(self._call), asked)

    def _release_late(self, claiming: asyncio.Task[None]) -> None:
        """The block was cancelled before it began: give back what the service hands out all the same."""
        if not claiming.cancelled() and claiming.exception() is None:
            self._task = asyncio.create_task(self._release_all(), name="avocet-claims")

    async def _release_all(self) -> None:
        if self._state.live:
            try:
                await self._carry_out(self._release())
            except CorrectionsError as failed:
                _log.warning("claims were not released; they end by themselves: %s", failed)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._state.seconds_until_renewal(time.monotonic()))
            asked = time.monotonic()
            if not (lease_ids := self._state.renewal(asked)):
                return
            try:
                self._state.renewed(await self._carry_out(self._renewal(lease_ids)), asked)
            except Exception as error:  # whatever it was, the leases run out, and their holder has to be told
                self._renewal_failed(error)


def _release_of(lease_ids: Sequence[str], postpone_seconds: int, metadata: Metadata) -> Call[pb.ReleaseClaimsResponse]:
    return release_claims(lease_ids, postpone_seconds=postpone_seconds, timeout=CALL_SECONDS, metadata=metadata)
