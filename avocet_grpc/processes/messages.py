"""What the supervisor and its processes say to each other, over one socket a process."""

from __future__ import annotations

from dataclasses import dataclass

from avocet_grpc.settings import Settings

Sample = tuple[str, dict[str, str], float]
"""A metric's sample: its name, its labels, its value."""

Family = tuple[str, str, str, list[Sample]]
"""A metric: its name, its description, its type, its samples."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message to a process: all that it needs to know."""

    settings: Settings
    name: str
    """How the process is called in the log."""

    supervisor: int
    """The supervisor's process id: a process with another parent is an orphan."""

    address: str
    """The address to serve on; its port is never 0."""

    share_port: bool
    """Whether other workers serve on the same port."""

    bell: int
    """The descriptor of the bell that wakes this process."""

    others: tuple[int, ...]
    """The descriptors of the other processes' bells."""

    lock: int
    """The descriptor that holds the data directory; -1: there is none."""

    service: str
    """Names this run of the service among all servers; the same for all of its processes."""

    again: bool
    """Whether the service serves already: the process takes the place of one that died."""

    released: bool
    """Whether an operator has taken the files from this run of the service."""


@dataclass(frozen=True, slots=True)
class Go:
    """Everything before this process is ready: adopt, or serve."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End in order."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Read tokens and certificates again."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Send the metrics; with `ledger` also those that are read from the ledger."""

    ledger: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """Say that you live."""


Order = Begin | Go | Stop | Reload | Measure | Ping
"""From the supervisor."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The process waits for Go."""


@dataclass(frozen=True, slots=True)
class Running:
    """A mirror: both files are adopted, and the ledger has the reports. A worker: it serves."""


@dataclass(frozen=True, slots=True)
class Released:
    """A mirror: an operator wants another server to keep the files."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The ledger's storage failed: nobody may write to it again."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The answer to Measure."""

    families: list[Family]


@dataclass(frozen=True, slots=True)
class Alive:
    """The answer to Ping."""


Report = Prepared | Running | Released | Failed | Measured | Alive
"""To the supervisor."""
