"""The part of the async client that pages: an iterator over all items of each method that has pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import grpc

import avocet_client.calls as calls
import avocet_client.team_calls as team_calls
from avocet_client.base import ClientBase
from avocet_client.connection import Metadata
from avocet_client.pager import AsyncPager
from avocet_client.team_calls import AnyStatus
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter, ChangeAction, ClaimWord, ListOrder, Order

T = TypeVar("T")


class AsyncListingClient(ClientBase[grpc.aio.Channel]):
    """Iterators over all pages; see `AsyncCorrectionsClient`."""

    def runs(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncPager[pb.Run, pb.ListRunsResponse]:
        """Iterate over all benchmark runs, newest name first, `page_size` (0: 50, at most 500) at a time.

        See `CorrectionsClient.runs`.
        """
        call = calls.list_runs(
            page_size=page_size,
            page_token=page_token,
            timeout=timeout,
            metadata=metadata,
        )
        return AsyncPager(call, self._carry_out, "runs")

    def in_review(
        self,
        *,
        filter: CandidateFilter | None = None,
        order: Order = "file",
        include_record: bool = False,
        claims: ClaimWord = "any",
        reviewer: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncPager[pb.Candidate, pb.QueueResponse]:
        """Iterate over all candidates in review, `page_size` (0: 20, at most 500) at a time.

        See `CorrectionsClient.in_review`.
        """
        call = calls.queue(
            filter=filter,
            order=order,
            include_record=include_record,
            claims=claims,
            reviewer=reviewer,
            per_page=page_size,
            page_token=page_token,
            timeout=timeout,
            metadata=metadata,
        )
        return AsyncPager(call, self._carry_out, "items")

    def candidates(
        self,
        *,
        statuses: Sequence[AnyStatus] = (),
        filter: CandidateFilter | None = None,
        text: str = "",
        order: ListOrder = "file",
        include_record: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncPager[pb.Candidate, pb.ListCandidatesResponse]:
        """Iterate over all candidates that `list_candidates` would list, `page_size` (0: 20, at most 500) at a time.

        See `CorrectionsClient.candidates`.
        """
        call = team_calls.list_candidates(
            statuses=statuses,
            filter=filter,
            text=text,
            order=order,
            include_record=include_record,
            page_size=page_size,
            page_token=page_token,
            timeout=timeout,
            metadata=metadata,
        )
        return AsyncPager(call, self._carry_out, "items")

    def history(
        self,
        *,
        id: str = "",
        actors: Sequence[str] = (),
        actions: Sequence[ChangeAction] = (),
        since_revision: int = 0,
        oldest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncPager[pb.Change, pb.ListHistoryResponse]:
        """Iterate over all changes that `list_history` would list, `page_size` (0: 50, at most 500) at a time.

        See `CorrectionsClient.history`.
        """
        call = team_calls.list_history(
            id=id,
            actors=actors,
            actions=actions,
            since_revision=since_revision,
            oldest_first=oldest_first,
            page_size=page_size,
            page_token=page_token,
            timeout=timeout,
            metadata=metadata,
        )
        return AsyncPager(call, self._carry_out, "changes")

    def snapshots(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncPager[pb.Snapshot, pb.ListSnapshotsResponse]:
        """Iterate over all snapshots, newest first, `page_size` (0: 50, at most 500) at a time.

        See `CorrectionsClient.snapshots`.
        """
        call = team_calls.list_snapshots(
            page_size=page_size,
            page_token=page_token,
            timeout=timeout,
            metadata=metadata,
        )
        return AsyncPager(call, self._carry_out, "snapshots")

    async def _carry_out(self, call: calls.Call[T]) -> T:
        raise NotImplementedError
