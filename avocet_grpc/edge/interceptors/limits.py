"""How many calls at once, and how long each: the innermost layer, after which the request is received."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

from avocet_grpc.core.errors import CallTooLong, Overloaded
from avocet_grpc.edge.answers import Answers
from avocet_grpc.edge.arrivals import Arrivals, Incoming, Parse
from avocet_grpc.edge.message_limits import HEALTH, Sizes
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.edge.unfinished import UnfinishedLines
from avocet_grpc.settings import Limits

WATCH = "/avocet.corrections.v1.CorrectionsService/Watch"


class Room:
    """How many calls of a kind may be under way, in all and of one caller, and how many are."""

    def __init__(self, most: int, most_per_caller: int) -> None:
        self._most, self._most_per_caller = most, most_per_caller
        self._taken = 0
        self._of_caller: Counter[str] = Counter()

    def take(self, caller: str) -> None:
        """A call of `caller` begins. Raises Overloaded."""
        if self._taken >= self._most:
            raise Overloaded("too many calls at once")
        if self._of_caller[caller] >= self._most_per_caller:
            raise Overloaded("too many calls of one caller")
        self._taken += 1
        self._of_caller[caller] += 1

    def give_back(self, caller: str) -> None:
        """It has ended."""
        self._taken -= 1
        _count_down(self._of_caller, caller)


class Deadlines:
    """Ends calls that take longer than `seconds`, and one of them once there are more than `most`.

    It ends the oldest call of the caller that has most of them, so that many calls of one caller end nobody else's. All
    calls have the same time, so the first that began is the first that is late, and one timer is enough for all.
    """

    def __init__(self, seconds: float, most: float = math.inf) -> None:
        self._seconds, self._most = seconds, most
        self._due: dict[Incoming, tuple[float, str]] = {}
        self._of_caller: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, call: Incoming, caller: str) -> None:
        """A call of `caller` begins."""
        if len(self._due) >= self._most:
            greediest, _ = self._of_caller.most_common(1)[0]
            oldest = next(one for one, (_, whose) in self._due.items() if whose == greediest)
            self.forget(oldest)
            oldest.end(Overloaded("too many newer calls"))
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._due[call] = due, caller
        self._of_caller[caller] += 1
        if self._timer is None and due < math.inf:
            self._timer = loop.call_at(due, self._look)

    def forget(self, call: Incoming) -> None:
        """It has ended."""
        if (found := self._due.pop(call, None)) is not None:
            _count_down(self._of_caller, found[1])

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        for call, (due, _) in [*self._due.items()]:
            if due > now:
                self._timer = loop.call_at(due, self._look)
                return
            self.forget(call)
            call.end(CallTooLong())


def _count_down(of_caller: Counter[str], caller: str) -> None:
    of_caller[caller] -= 1
    if not of_caller[caller]:
        del of_caller[caller]


class MethodLimits:
    """What the calls of one method are held to. Without a `room` none is refused, also while the server stops."""

    def __init__(
        self,
        sizes: Sizes,
        parse: Parse,
        arrivals: Arrivals,
        answers: Answers,
        lines: UnfinishedLines,
        gate: Gate,
        room: Room | None,
        deadlines: Deadlines,
    ) -> None:
        self.sizes, self.answers, self.lines, self._parse = sizes, answers, lines, parse
        self._arrivals, self._gate, self._room, self._deadlines = arrivals, gate, room, deadlines

    def enter(self, caller: str, peer: str, context: Any) -> Incoming:
        """A call of this task begins; `leave` must follow. Raises ShuttingDown or Overloaded."""
        if self._room is not None:
            self._gate.enter()
            self._room.take(caller)
        incoming = self._arrivals.begin(self.sizes.request, self._parse, context, peer)
        self._deadlines.watch(incoming, caller)
        return incoming

    def leave(self, incoming: Incoming, caller: str) -> None:
        """It has ended."""
        self._deadlines.forget(incoming)
        incoming.close()
        if self._room is not None:
            self._room.give_back(caller)


class Limiter:
    """The limits of all methods.

    Health is never refused: a busy server is not a dead one. Too many of its calls at once end one that waits,
    since a probe takes no time. Its Watch lasts as long as its connection. Calls of our Watch are counted for
    themselves: they mostly wait.
    """

    def __init__(self, gate: Gate, limits: Limits) -> None:
        self._gate, self._limits = gate, limits
        self._answers = answers = Answers(limits.answer_bytes_under_way)
        self._lines = lines = UnfinishedLines()
        self._arrivals = Arrivals(limits.bytes_under_way, lines, lambda: answers.held)
        self._calls = Room(limits.calls, limits.calls_per_caller)
        self._watches = Room(limits.watches, limits.watches_per_caller)
        self._unary, self._streams = Deadlines(limits.call_seconds), Deadlines(limits.stream_seconds)
        self._checks = Deadlines(limits.call_seconds, limits.health_calls)
        self._health_watches = Deadlines(math.inf, limits.health_calls)

    def of(self, method: str, parse: Parse, *, streams: bool) -> MethodLimits:
        """Return the limits of a method, by its full name; `streams` says that it takes or gives a stream."""
        sizes = Sizes(method, self._limits.message_bytes)
        if method.startswith(HEALTH):
            room, deadlines = None, self._health_watches if streams else self._checks
        else:
            room = self._watches if method == WATCH else self._calls
            deadlines = self._streams if streams else self._unary
        return MethodLimits(sizes, parse, self._arrivals, self._answers, self._lines, self._gate, room, deadlines)


def caller_of(principal: str, peer: str) -> str:
    """Return who calls: a token's name, else the peer without its port, so that one machine is one caller."""
    return principal or peer.rpartition(":")[0]
