"""What can be set from outside."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on at most; the flag `--limit NAME=VALUE` changes one."""

    calls: int = 1_000
    """Calls at once, health checks apart; the next one gets OVERLOADED and a delay after which to try again."""

    calls_per_caller: int = 900
    """Calls at once of one token, or without tokens of one address; the others are for everybody else."""

    watches: int = 1_100
    """Calls of Watch at once, beside the other calls; the next one gets OVERLOADED."""

    watches_per_caller: int = 1_000
    """Calls of Watch at once of one token, or without tokens of one address; the others are for everybody else."""

    health_calls: int = 1_000
    """Calls at once of health's Check, and of its Watch; one more ends the oldest of the caller that has most."""

    waiting_writes: int = 10_000
    """Changes that wait for the writer, a stream's message being one; the next one gets OVERLOADED."""

    connections: int = 1_000
    """Connections at once; the next one is closed before anything is read from it."""

    streams: int = 250
    """Calls at once on one connection; the client keeps the next one until another has ended."""

    message_bytes: int = 16 * 1024 * 1024
    """One message of a method that brings texts; a larger one gets RESOURCE_EXHAUSTED. Other methods: 2 MB."""

    bytes_under_way: int = 48 * 1024 * 1024
    """Of all requests that are arriving or being worked on; beyond it the greediest connection's get OVERLOADED."""

    answer_bytes_under_way: int = 64 * 1024 * 1024
    """Of what calls work on and of answers not taken off; beyond it calls wait, the slowest connection is closed."""

    ahead_bytes: int = 64 * 1024
    """Of one stream, before its call reads."""

    metadata_bytes: int = 16 * 1024
    """The metadata of one call; more gets RESOURCE_EXHAUSTED."""

    handshake_seconds: int = 10
    """From a connection's first byte to the end of its HTTP/2 settings, TLS included; then it is closed."""

    idle_seconds: int = 600
    """A connection without a call for this long is asked to close; clients open another one when they need it."""

    connection_seconds: int = 7_200
    """A connection this old is asked to close, and its calls have `stream_seconds` more to end."""

    ping_seconds: int = 60
    """How often the server asks a silent connection whether its peer is still there."""

    ping_timeout_seconds: int = 20
    """A peer that does not answer such a ping for this long is gone, and what its calls held is freed."""

    client_ping_seconds: int = 10
    """Pings of a client closer together than this are too many; the connection is closed at the third."""

    call_seconds: float = 300
    """One call with one answer, whatever deadline its caller set; then it gets CALL_TOO_LONG."""

    stream_seconds: float = 3_600
    """One call that streams, health's Watch apart."""


LIMITS = tuple(limit.name for limit in fields(Limits))
"""The limits' names."""


SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one server needs to know; `avocet_grpc.cli.app` fills it from flags and the environment."""

    listen: str = "127.0.0.1:50051"
    """HOST:PORT to serve on, port 0 picks a free one; or unix:PATH."""

    data_dir: Path = Path("data")
    """Where the two shared files lie, and the private directory `.avocet`."""

    store: str = field(default=SQLITE, repr=False)
    """`sqlite`: below the data directory; or the URL of a PostgreSQL database, which may hold a password."""

    keeps_files: bool = True
    """Whether this server has a data directory. Of a database's servers one at a time keeps the two shared files."""

    workers: int = 1
    """How many processes serve on the same port."""

    config_dir: Path = Path("config")
    """Where `label_tool.yaml` lies, shared with the legacy app."""

    ingestion_secret: str = field(default="", repr=False)
    """A token that opens Ingest and StreamIngest; empty: none."""

    ingestion_secret_file: Path | None = None
    """A file that holds that token, read again when it changes; it wins over `ingestion_secret`."""

    tokens_file: Path | None = None
    """Who may call what; None: everybody everything, but the ingest calls, which ask for the ingestion secret."""

    tls_cert: Path | None = None
    """The server's certificate chain, PEM; None: no TLS."""

    tls_key: Path | None = None
    """The certificate's private key, PEM."""

    tls_client_ca: Path | None = None
    """The CAs (PEM) of which every client must show a certificate; None: clients need none."""

    insecure: bool = False
    """Serve other machines without TLS or without tokens."""

    metrics_listen: str = ""
    """HOST:PORT for Prometheus; empty: no metrics."""

    log_level: str = "info"
    """The least level of the lines that are logged: debug, info, warning or error. A call's line is info."""

    limits: Limits = Limits()
    """What the server takes on at most."""

    search: bool = False
    """Keep an index of texts for ListCandidates."""

    keep_history_days: float = 365.0
    """For how long changes are listed and can be followed; 0: for ever."""

    keep_revisions_days: float = 30.0
    """For how long the store can be exported as it was; 0: for ever."""

    grace_seconds: float = 10.0
    """How long calls under way may go on at a stop."""

    sync_seconds: float = 60.0
    """How long a stop may take to bring the shared files up to date."""

    @property
    def is_shared(self) -> bool:
        """Whether the ledger is in a database, which other servers may share."""
        return self.store != SQLITE
