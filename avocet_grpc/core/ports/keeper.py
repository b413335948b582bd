"""Who keeps the two shared files of a ledger that several servers share."""

from __future__ import annotations

from typing import NamedTuple


class KeeperState(NamedTuple):
    """The lease of the files, as the database has it. Times are Unix seconds by the database's clock.

    `holder` names one run of a server, and is empty while nobody holds the lease; `host` and `directory` say where it
    keeps the files, or kept them last. `files_id` is the id of the directory whose files belong to the ledger; it is
    empty if nobody has ever kept them. `seen_at` is when the lease was renewed last, and it ends at `until`.
    `lag_revisions` is how many revisions the files are behind, as the holder said last.
    `refused` is the place of a running server whose directory was found not to have the files, and `refused_at` when;
    it is empty once a server has taken the lease after that.
    """

    holder: str
    host: str
    directory: str
    files_id: str
    epoch: int
    seen_at: float
    until: float
    release_wanted: bool
    lag_revisions: int
    now: float
    refused: str
    refused_at: float

    @property
    def is_kept(self) -> bool:
        """Return whether a server keeps the files now."""
        return bool(self.holder) and self.until > self.now

    @property
    def place(self) -> str:
        """Where the files are kept, or were kept last: HOST:DIRECTORY."""
        return f"{self.host}:{self.directory}"
