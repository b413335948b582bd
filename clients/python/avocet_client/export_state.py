"""One export without any I/O: what to ask for, what has arrived, what was handed out, and whether that is all.

The sync and the async iterator carry it out. Each example is handed out once, in order, over any number of breaks.
After a break the next call continues behind the last batch that was handed out whole. Examples of the next batch that
were handed out already are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from avocet_client.errors import ExportCorrupted, TransportError
from avocet_client.saved_state import check_state
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import counted

VERSION = 1


class _Pinned(TypedDict, total=False):
    by_revision: bool


class ExportStateDict(_Pinned):
    """Where an export stands, in plain values for JSON, pickle or `torch.save`.

    `request` is a digest of what was asked for; `resume_token` continues behind a whole batch, and `skip` examples of
    what follows were handed out already; `consumed` examples were handed out in all, of `total`. `by_revision` is there
    if the token belongs to the snapshot's revision, and not to its name.
    """

    version: int
    request: str
    revision: int
    resume_token: str
    skip: int
    consumed: int
    total: int | None
    finished: bool


class ExportState:
    """The state of one export. `total`, `revision` and `consumed` are for its reader."""

    def __init__(self, request: pb.StreamExportRequest) -> None:
        self._request = request
        asked = pb.StreamExportRequest()
        asked.CopyFrom(request)
        asked.batch_size = asked.at_revision = 0
        self._digest = hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
        self.revision = request.at_revision
        self.total: int | None = None
        self._complete = False
        self._token = ""
        self._by_revision = False
        self._skip = 0  # handed out after the token, before the present batch
        self._before = 0  # handed out before the present batch
        self._batch: Sequence[pb.TrainingExample] = ()
        self._size = self._position = 0
        self._next_token = ""
        self._corrupted: ExportCorrupted | None = None
        self._begin_call()

    @property
    def consumed(self) -> int:
        """How many examples were handed out, those before a loaded state included."""
        return self._before + self._position

    @property
    def finished(self) -> bool:
        """Whether everything arrived, was proved complete, and was handed out."""
        return self._complete and self._position == self._size

    def next_request(self) -> pb.StreamExportRequest:
        """Return the request of the next call, which continues the export. An ExportCorrupted is raised once more."""
        if self._corrupted is not None:
            raise self._corrupted
        self._settle()
        self._skip += self._position
        self._before += self._position
        self._set_batch(())
        self._begin_call()
        request = pb.StreamExportRequest()
        request.CopyFrom(self._request)
        request.resume_token = self._token
        if not self._token and not self._request.at_revision:
            # A snapshot may be deleted, and another one get its name, before there is a token.
            self._by_revision = bool(request.snapshot) and self.revision > 0
        if self._by_revision:
            # The service refuses the two together.
            request.snapshot = ""
        if not request.snapshot:
            request.at_revision = self.revision
        return request

    def pin(self, revision: int) -> None:
        """Ask for this revision, which the snapshot's name stood for before. Call it before the first request."""
        self.revision = revision

    def take(self) -> pb.TrainingExample | None:
        """Return the next example that has arrived, or None if another response is needed."""
        position = self._position
        if position == self._size:
            return None
        self._position = position + 1
        return self._batch[position]

    def receive(self, response: pb.StreamExportResponse) -> None:
        """Take a response in, once `take` has given None. Raises ExportCorrupted if it contradicts what was said."""
        try:
            self._take_in(response)
        except ExportCorrupted as error:
            self._corrupted = error
            raise

    def _take_in(self, response: pb.StreamExportResponse) -> None:
        self._settle()
        if not self._call_began:
            self._check_first(response)
        examples = response.examples
        self._call_count += len(examples)
        self._call_ids.update("".join([f"{example.id}\n" for example in examples]).encode())
        if self._skip >= len(examples):
            self._skip -= len(examples)
            self._token = response.resume_token
        else:
            self._next_token = response.resume_token
            self._set_batch(examples[self._skip :] if self._skip else examples)
        if response.HasField("summary"):
            self._check_summary(response.summary)
            self._complete = True

    def ended(self) -> TransportError:
        """Return the error of a call that ended without its summary."""
        return TransportError("The export's stream ended before its summary.")

    def state_dict(self) -> ExportStateDict:
        """Return where the export stands, at the very example."""
        self._settle()
        state = ExportStateDict(
            version=VERSION,
            request=self._digest,
            revision=self.revision,
            resume_token=self._token,
            skip=self._skip + self._position,
            consumed=self.consumed,
            total=self.total,
            finished=self.finished,
        )
        if self._by_revision:
            state["by_revision"] = True
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` stands. Raises ValueError if it is of another request or version, or no state at all."""
        check_state(state, ExportStateDict, VERSION)
        if state["request"] != self._digest:
            raise ValueError("the state is of another export; ask for the same filter, shard, split and revisions")
        if self._request.at_revision not in (0, state["revision"]):
            raise ValueError(f"the state is of revision {state['revision']}, not {self._request.at_revision}")
        self.revision, self.total = state["revision"], state["total"]
        self._token, self._skip, self._before = state["resume_token"], state["skip"], state["consumed"]
        self._by_revision = state.get("by_revision", False)
        self._complete, self._corrupted = state["finished"], None
        self._set_batch(())
        self._begin_call()

    def _settle(self) -> None:
        """Move behind the present batch once it was handed out whole."""
        if self._size and self._position == self._size:
            self._token, self._skip = self._next_token, 0
            self._before += self._size
            self._set_batch(())

    def _set_batch(self, examples: Sequence[pb.TrainingExample]) -> None:
        self._batch, self._size, self._position = examples, len(examples), 0

    def _begin_call(self) -> None:
        self._call_began, self._call_total, self._call_count = False, 0, 0
        self._call_ids = hashlib.sha256()

    def _check_first(self, response: pb.StreamExportResponse) -> None:
        self._call_began, self._call_total = True, response.total
        total = self._before - self._skip + response.total
        if self.total is None:
            self.total = total
        if self.total != total:
            raise _corrupted(f"It had {counted(self.total, 'example')}; continued, the server says {total}.")
        if self.revision not in (0, response.revision):
            raise _corrupted(f"It is of revision {self.revision}; the server sends {response.revision}.")
        self.revision = response.revision

    def _check_summary(self, summary: pb.ExportSummary) -> None:
        if not summary.example_count == self._call_count == self._call_total:
            sent = f"{counted(summary.example_count, 'example')} of {self._call_total:,}"
            raise _corrupted(f"The server says that it sent {sent}; {self._call_count} arrived.")
        if summary.ids_sha256 != self._call_ids.hexdigest():
            raise _corrupted("The ids that arrived are not those of the server's summary.")


def _corrupted(what: str) -> ExportCorrupted:
    return ExportCorrupted(f"The export arrived incomplete; start it again. {what}")
