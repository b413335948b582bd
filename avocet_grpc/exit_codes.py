"""What the exit code of `avocet-grpc` means; each command's help names those that it can end with."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """An exit code of the command."""

    OK = 0
    FAILED = 1
    """The command could not do its work: the server could not start, or there was nothing to work on."""
    WRONG_USAGE = 2
    """A flag or an argument is wrong. The command line's parser gives it."""
    DIRECTORY_TAKEN = 3
    """Another server holds the data directory."""
    FILES_BEHIND = 4
    """The stop could not bring the shared files up to date; start and stop again."""
    STORAGE_FAILED = 5
    """The ledger's storage failed."""
    DAMAGED = 6
    """`verify` found damage."""
    NOT_KEPT = 7
    """`keeper status`: no server keeps the shared files."""
