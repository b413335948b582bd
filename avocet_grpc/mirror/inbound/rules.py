"""The rules by which a look takes in what a file says."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

from avocet_grpc.mirror.fs.signature import Signature

DAMAGE_LINES = 100
DAMAGE_SHARE = 0.1
"""Of a file's records. If more than both are lost at once, nobody took them out."""


class Mode(enum.Enum):
    """Which changes of others a look accepts."""

    RUNNING = enum.auto()
    CLEAN = enum.auto()
    """The first look after a clean stop: what others did to the file meanwhile is accepted."""
    CRASHED = enum.auto()
    """The first look after an end that was not clean: nothing is deleted, and an edit of what the service wrote counts
    only if it holds what the service's last change set."""


class Aside(NamedTuple):
    """What programs do with displaced files: one has it open for writing, or wrote what was not read yet."""

    is_held: bool
    is_unread: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of the moment. `settled`: a missing line counts as deleted now. `may_go_on`: a program has the file
    open for writing, or had it a moment ago, and may be half-way through it; `is_open`: it has it open now;
    `goes_on_aside`: it has a displaced one. `is_held`: `may_go_on`, and there is no later look to which
    something could be left. `judged`: the file is as it was at the last look, which found lines missing and no damage.
    `torn_is_given_up`: nobody will end a last line without a newline any more. `half_may_be_ours`: what a kill or a
    failed write left of ours may stand there.

    `seen` is the file for which all this is known. `as_noted_at` is the Unix time at which a look last found it as the
    index has it: whoever changed it did so later, and may have read it a little before.
    """

    mode: Mode = Mode.RUNNING
    settled: bool = False
    may_go_on: bool = False
    is_open: bool = False
    goes_on_aside: bool = False
    is_held: bool = False
    judged: bool = False
    torn_is_given_up: bool = False
    half_may_be_ours: bool = True
    seen: Signature | None = None
    as_noted_at: float = math.inf

    @property
    def may_delete(self) -> bool:
        """Whether a missing line may count as deleted: then the file MUST be the one that was `seen`."""
        return self.settled or self.mode is Mode.CLEAN

    @property
    def may_be_damage(self) -> bool:
        """Whether what is missing may be so by damage, and nobody has looked at that before."""
        return not self.judged and self.mode is not Mode.CLEAN


def is_damage(lost: int, lines: int, total: int, *, cut: bool) -> bool:
    """Return whether a file that has `lines` left lost `lost` of its `total` records by damage, and not by hand.

    So it is if nothing of it is left, if its end was `cut` off, or if more is gone than people delete at once.
    """
    return not lines or cut or is_mass(lost, total)


def is_mass(lost: int, total: int) -> bool:
    """Return whether more of `total` records is gone than people delete at once."""
    return lost > max(DAMAGE_LINES, DAMAGE_SHARE * total)
