"""What can go wrong, as plain classes; `avocet_grpc.edge.status` gives each its code, reason and sentence."""

from __future__ import annotations


class CorrectionsError(Exception):
    """Root of every error that a caller may see."""


class InvalidField(CorrectionsError):
    """A request field is missing, too long, or not of its form.

    `field` is the wire's path of the field; `problem` says in plain words what it must be.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class CandidateNotFound(CorrectionsError):
    """No record of the candidates file has this id."""

    def __init__(self, id: str) -> None:
        super().__init__("no such candidate")
        self.id = id


class RunNotFound(CorrectionsError):
    """The benchmark results directory has no such run, or the run's file cannot be read."""

    def __init__(self, run_id: str) -> None:
        super().__init__("no such run")
        self.run_id = run_id


class NotInReview(CorrectionsError):
    """A decision on a candidate that is not in review."""

    def __init__(self, current_status: str) -> None:
        super().__init__("not in review")
        self.current_status = current_status


class AlreadyInReview(CorrectionsError):
    """An undo of a candidate that is in review."""


class RevisionMismatch(CorrectionsError):
    """`expected_revision` is not the candidate's."""

    def __init__(self, current_revision: int) -> None:
        super().__init__("the candidate has changed")
        self.current_revision = current_revision


class RevisionExpired(CorrectionsError):
    """A resume token or a revision that the ledger no longer keeps."""


class IngestionNotConfigured(CorrectionsError):
    """The server has no ingestion secret."""


class TokenMissing(CorrectionsError):
    """No `authorization` metadata, or not `Bearer ...`."""


class TokenRefused(CorrectionsError):
    """A wrong token (`role` is empty), or one without the `role` that the method requires."""

    def __init__(self, role: str = "") -> None:
        super().__init__("token refused")
        self.role = role


class ClaimLost(CorrectionsError):
    """The `lease_id` is not the candidate's current claim, or not the caller's."""


class Claimed(CorrectionsError):
    """Another reviewer holds the candidate until `expires_at`, Unix time in seconds."""

    def __init__(self, reviewer: str, expires_at: float) -> None:
        super().__init__("claimed by another reviewer")
        self.reviewer = reviewer
        self.expires_at = expires_at


class SnapshotNotFound(CorrectionsError):
    """No snapshot has this name."""

    def __init__(self, name: str) -> None:
        super().__init__("no such snapshot")
        self.name = name


class SnapshotExists(CorrectionsError):
    """The name is taken by the snapshot of this revision."""

    def __init__(self, name: str, revision: int) -> None:
        super().__init__("the name is taken")
        self.name = name
        self.revision = revision


class StorageFull(CorrectionsError):
    """The disk is full: nothing was stored, except for what an import had stored before; reads go on."""


class Overloaded(CorrectionsError):
    """Too many calls at once or waiting: nothing was stored, except for what an import had stored before."""


class CallTooLong(CorrectionsError):
    """The call took longer than the server lets one take."""


class ShuttingDown(CorrectionsError):
    """The server stops: it has not begun the call, or it ends a watch."""


class StorageFailed(CorrectionsError):
    """The ledger failed with an I/O error: what waited is unknown, the server stops."""


class StorageUnreachable(CorrectionsError):
    """The database could not be reached for as long as a call may wait. Whether a change was stored is unknown."""


class ConfigUnreadable(CorrectionsError):
    """The config file is not a valid YAML mapping, cannot be written, or is being written by another program."""

    def __init__(self, problem: str = "", *, is_being_written: bool = False) -> None:
        super().__init__(problem)
        self.is_being_written = is_being_written
