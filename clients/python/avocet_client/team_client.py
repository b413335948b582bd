"""The part of the sync client that a team of reviewers needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import avocet_client.team_calls as team_calls
from avocet_client.backoff import RETRY_FOR_SECONDS, Backoff
from avocet_client.batch_state import Batch, Decision, DecisionResult
from avocet_client.calls import Call, timeout_of, whole
from avocet_client.connection import Metadata
from avocet_client.errors import CorrectionsError
from avocet_client.holds import Hold
from avocet_client.listing_client import ListingClient
from avocet_client.team_calls import AnyStatus
from avocet_client.uploads import Sent, Upload
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.watches import Watch, watch_request
from avocet_client.words import CandidateFilter, ChangeAction, ListOrder, Order

T = TypeVar("T")


class TeamClient(ListingClient):
    """Claims, batches, lists, history and snapshots; see `CorrectionsClient`."""

    def list_candidates(
        self,
        *,
        statuses: Sequence[AnyStatus] = (),
        filter: CandidateFilter | None = None,
        text: str = "",
        order: ListOrder = "file",
        page_size: int = 0,
        page_token: str = "",
        include_record: bool = False,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.ListCandidatesResponse:
        """Return one page of candidates of any status; `other` means the words of other programs.

        `text` (at least 3 characters) is looked for in prompt, response and correction, in the order `file` alone. A
        page may be short, or empty, and yet have a `next_page_token`: follow it to the end. Raises InvalidField.
        """
        call = team_calls.list_candidates(
            statuses=statuses,
            filter=filter,
            text=text,
            order=order,
            page_size=page_size,
            page_token=page_token,
            include_record=include_record,
            timeout=timeout,
            metadata=metadata,
        )
        return self._carry_out(call)

    def list_history(
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
    ) -> pb.ListHistoryResponse:
        """Return one page of changes, newest first: of one id, or of the whole store.

        Values of the changed keys come with an `id` alone. Raises InvalidField, and RevisionExpired if changes that
        belong to the answer are no longer kept.
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
        return self._carry_out(call)

    def claim(
        self,
        *,
        reviewer: str = "",
        limit: int = 1,
        lease_seconds: int = 0,
        filter: CandidateFilter | None = None,
        order: Order = "file",
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> list[pb.Claim]:
        """Take at most `limit` candidates in review that nobody holds; an empty list if there are none.

        Hand a claim's `lease_id` to `submit`. It ends by itself after `lease_seconds` (0: 600; 10 to 3,600). With a
        token the reviewer is the token's name. Raises InvalidField.
        """
        call = team_calls.claim(
            reviewer=reviewer,
            limit=limit,
            lease_seconds=lease_seconds,
            filter=filter,
            order=order,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        return self._carry_out(call)

    def hold(
        self,
        *,
        reviewer: str = "",
        limit: int = 1,
        lease_seconds: int = 0,
        postpone_seconds: int = 0,
        filter: CandidateFilter | None = None,
        order: Order = "file",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Hold:
        """Claim candidates for the length of a `with` block: `with client.hold(reviewer="kim") as held`.

        `held` is a sequence of at most `limit` claims, empty if nothing is left. Decide with the `submit` of a claim.
        The claims are renewed until the block is left. What was not decided is then released, and this reviewer's
        claims leave it out for `postpone_seconds`. The arguments are those of `claim`.
        """
        call = team_calls.claim(
            reviewer=reviewer,
            limit=limit,
            lease_seconds=lease_seconds,
            filter=filter,
            order=order,
            timeout=timeout,
            metadata=metadata,
        )
        return Hold(call, self._carry_out, postpone_seconds)

    def renew_claims(
        self, lease_ids: Iterable[str], *, lease_seconds: int = 0, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.RenewClaimsResponse:
        """Make claims end `lease_seconds` (0: 600) from now. `lost` has those that have ended already.

        It is not retried by itself; to call it again does no harm.
        """
        return self._carry_out(
            team_calls.renew_claims(lease_ids, lease_seconds=lease_seconds, timeout=timeout, metadata=metadata)
        )

    def release_claims(
        self,
        lease_ids: Iterable[str],
        *,
        postpone_seconds: int = 0,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.ReleaseClaimsResponse:
        """End claims, so that others get the candidates. For `postpone_seconds` their reviewer does not get them.

        It is not retried by itself; to call it again does no harm.
        """
        call = team_calls.release_claims(
            lease_ids, postpone_seconds=postpone_seconds, timeout=timeout, metadata=metadata
        )
        return self._carry_out(call)

    def submit_many(
        self,
        decisions: Iterable[Decision],
        *,
        request_id: str | None = None,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> list[DecisionResult]:
        """Decide many candidates, each for itself, and return what became of each, in order.

        A refused decision has its `error` and stops no other, also one that cannot be sent. At most 500 decisions go
        together, in one commit. It waits through an outage of up to `retry_for` seconds; `timeout` bounds one piece.
        After an error call it again with the same decisions and the error's `request_id`: nothing is decided twice, and
        the first results come. Raises ValueError, InvalidField for the request id, and the last error of a longer
        outage.
        """
        batch, answered = Batch(decisions, request_id), list[DecisionResult]()
        for call in batch.calls(timeout, metadata):
            piece = self._carry_out_again(call, Backoff(retry_for))
            answered += piece
        return batch.results(answered)

    def create_snapshot(
        self,
        name: str,
        *,
        at_revision: int = 0,
        note: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.Snapshot:
        """Give a revision (0: the newest) a name, which `export(snapshot=...)` takes. It is kept until it is deleted.

        Raises SnapshotExists, RevisionExpired, InvalidField.
        """
        call = team_calls.create_snapshot(
            name, at_revision=at_revision, note=note, request_id=request_id, timeout=timeout, metadata=metadata
        )
        return self._carry_out(call)

    def get_snapshot(self, name: str, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.Snapshot:
        """Return one snapshot. Raises SnapshotNotFound."""
        return self._carry_out(team_calls.get_snapshot(name, timeout=timeout, metadata=metadata))

    def list_snapshots(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.ListSnapshotsResponse:
        """Return one page of the snapshots, newest first. `page_size` 0 means 50, at most 500."""
        return self._carry_out(
            team_calls.list_snapshots(page_size=page_size, page_token=page_token, timeout=timeout, metadata=metadata)
        )

    def delete_snapshot(self, name: str, *, timeout: float | None = None, metadata: Metadata = ()) -> None:
        """Delete a snapshot. Exports of it that have begun may be continued for 7 days. Raises SnapshotNotFound.

        It is not retried by itself.
        """
        return self._carry_out(team_calls.delete_snapshot(name, timeout=timeout, metadata=metadata))

    def upload_run(
        self,
        path: str | Path,
        *,
        run_id: str = "",
        on_conflict: pb.OnConflict.ValueType = pb.ON_CONFLICT_UNSPECIFIED,
        on_progress: Sent | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.UploadRunResponse:
        """Send a benchmark run's file and import it. The file is read as it is sent.

        `path` is the file, or the run's directory with `sft_candidates.jsonl`. Without a `run_id` the directory's name
        is the run's. `on_progress(done, total)` is called with bytes. The answer is that of `import_run`. It is not
        retried by itself; to call it again does no harm. Raises InvalidField, OSError if the file cannot be read, and
        ValueError if it is not a regular file.
        """
        upload = Upload(path, run_id, on_conflict, on_progress)
        call = Call("UploadRun", upload.messages(), timeout_of("UploadRun", timeout), whole, metadata)
        try:
            response: pb.UploadRunResponse = self._carry_out(call)
        except BaseException:
            if upload.error is not None:
                raise upload.error from None
            raise
        finally:
            upload.close()
        return response

    def watch(
        self,
        *,
        since_revision: int = 0,
        filter: CandidateFilter | None = None,
        actions: Sequence[ChangeAction] = (),
        include_candidates: bool = False,
        include_record: bool = False,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Watch:
        """Iterate over every change after `since_revision` (0: from now on), once and in order; it waits for more.

        A broken stream is continued, over an outage of up to `retry_for` seconds. `state_dict()` says where the
        iterator stands, `load_state_dict` goes on from there. `timeout` bounds one stream; the next one continues it.
        Raises RevisionExpired if changes that belong to it are no longer kept.
        """
        request = watch_request(since_revision, filter, actions, include_candidates, include_record)
        return Watch(self._streams("Watch", metadata), request, retry_for, timeout)

    def _carry_out_again(self, call: Call[T], backoff: Backoff) -> T:
        """Make a call that may be repeated, until it is answered or refused, or `backoff` gives up."""
        while True:
            try:
                return self._carry_out(call)
            except CorrectionsError as error:
                time.sleep(backoff.pause(error, time.monotonic()))

    def _carry_out(self, call: Call[T]) -> T:
        raise NotImplementedError
