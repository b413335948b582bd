"""Three database nodes that Patroni and etcd keep: Debian's packages, processes without root's rights."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.postgres import AS_USER, free_port, user_without_rights
from tests.proc import children_of
from tests.support import ROOT, eventually

WITHIN = 120.0
BINARIES = "/usr/lib/postgresql"
SETTINGS = {"shared_buffers": "64MB", "log_min_messages": "error"}
DEPLOY = ROOT / "deploy/cluster"
MAKE_DATABASE = "make_database.sh"
PASSWORD = 'it\'s a "secret"'


def missing() -> str:
    """What is not installed; empty if nothing is missing."""
    tools = [tool for tool in ("patroni", "etcd") if shutil.which(tool) is None]
    tools += [] if [*Path(BINARIES).glob("*/bin/postgres")] else ["postgresql"]
    return ", ".join(tools)


@dataclass
class Node:
    """One node: the ports of its database and of Patroni's REST interface."""

    name: str
    directory: Path
    port: int = field(default_factory=free_port)
    rest: int = field(default_factory=free_port)
    patroni: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        """The ids of Patroni, the postmaster and its children."""
        assert self.patroni is not None
        found = [self.patroni.pid]
        with contextlib.suppress(OSError, ValueError):
            postmaster = int((self.directory / "data/postmaster.pid").read_text().split()[0])
            found += [postmaster, *children_of(postmaster)]
        return found

    def kill(self) -> None:
        """End it at once, and lose its disk."""
        if self.patroni is None:
            return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.patroni.wait()
        self.patroni = None
        shutil.rmtree(self.directory / "data", ignore_errors=True)


class Patroni:
    """A cluster of three nodes with one synchronous standby at least."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="avocet-patroni-"))
        self._user = user_without_rights()
        self._own(self.directory)
        self._etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self.nodes = [Node(f"db{n}", self._own(self.directory / f"db{n}")) for n in (1, 2, 3)]

    def start(self) -> Patroni:
        """Start all, and wait until there is a leader with two standbys."""
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        flags = {
            "data-dir": self.directory / "etcd", "listen-client-urls": client, "advertise-client-urls": client,
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"default={peer}",
        }  # fmt: skip
        self._etcd = self._run("etcd", "etcd", *(f"--{name}={value}" for name, value in flags.items()))
        # Its user may not be able to read the tree.
        shutil.copy(DEPLOY / MAKE_DATABASE, self.directory)
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_whole()
        return self

    def start_node(self, node: Node) -> None:
        config = node.directory / "patroni.yaml"
        config.write_text(yaml.safe_dump(self._config(node)))
        node.patroni = self._run(node.name, "patroni", str(config), environment=self._environment(node))

    @property
    def url(self) -> str:
        """The address of the service's database, with all nodes in it, without the password."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgres://avocet@{hosts}/avocet"

    def leader(self) -> Node:
        """The node that is the primary now; raises AssertionError if there is none."""
        names = [member["name"] for member in self._members() if member["role"] == "leader"]
        assert names, "there is no leader"
        return next(node for node in self.nodes if node.name == names[0])

    def wait_until_whole(self) -> None:
        """Wait until there is a leader, and the other two follow it, one of them synchronously."""
        eventually(self._is_whole, within=WITHIN)

    def remove(self) -> None:
        for node in self.nodes:
            node.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """The last lines of each process."""
        return "\n".join(f"{path.name}: {path.read_text()[-1_500:]}" for path in self.directory.glob("*.log"))

    def _is_whole(self) -> bool:
        members = [(one["role"], one["state"]) for one in self._members()]
        roles = sorted(role for role, state in members if state in ("running", "streaming"))
        return roles in (["leader", "replica", "sync_standby"], ["leader", "sync_standby", "sync_standby"])

    def _members(self) -> list[dict[str, Any]]:
        for node in self.nodes:
            url = f"http://127.0.0.1:{node.rest}/cluster"
            with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=3) as answer:
                return list(json.load(answer)["members"])
        return []

    def _run(
        self, name: str, program: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-IS", str(AS_USER), self._user, shutil.which(program) or program, *arguments],
                stdout=output, stderr=output, cwd="/", start_new_session=True,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
            )  # fmt: skip

    def _own(self, path: Path) -> Path:
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        if self._user:
            shutil.chown(path, self._user)
        return path

    def _config(self, node: Node) -> dict[str, Any]:
        """What deploy/cluster says, with places and ports of this machine."""
        config: dict[str, Any] = yaml.safe_load((DEPLOY / "patroni.yaml").read_text())
        config["restapi"]["listen"] = f"127.0.0.1:{node.rest}"
        config["bootstrap"]["post_init"] = str(self.directory / MAKE_DATABASE)
        config["postgresql"] |= {
            "listen": f"127.0.0.1:{node.port}",
            "data_dir": str(node.directory / "data"),
            "bin_dir": str(max(Path(BINARIES).glob("*/bin"), key=lambda path: int(path.parent.name))),
            "pgpass": str(node.directory / "pgpass"),
        }
        config["postgresql"]["parameters"] |= SETTINGS | {"unix_socket_directories": str(node.directory)}
        return config

    def _environment(self, node: Node) -> dict[str, str]:
        return {
            "PATRONI_NAME": node.name,
            "PATRONI_ETCD3_HOSTS": f"127.0.0.1:{self._etcd_port}",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{node.rest}",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{node.port}",
            "PATRONI_SUPERUSER_PASSWORD": "of-the-superuser",
            "PATRONI_REPLICATION_PASSWORD": "of-the-standbys",
            "AVOCET_DB_PASSWORD": PASSWORD,
        }


def wait_for_another(cluster: Patroni, old: Node) -> float:
    """Wait until another node leads; gives the seconds that took."""
    began = time.monotonic()
    eventually(lambda: cluster.leader() is not old, within=WITHIN)
    return time.monotonic() - began
