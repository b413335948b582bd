"""The files in deploy/ for several machines; their commands run at a real database, as they would in containers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.operate.test_deploy import DEPLOY, KUBERNETES, Deployed
from tests.operate.test_docs import free_port
from tests.postgres import Postgres
from tests.support import BIN, ROOT, Server, eventually

CLUSTER = DEPLOY / "cluster"


def compose() -> Any:
    return yaml.safe_load((CLUSTER / "compose.yaml").read_text())


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes-postgres/corrections.yaml").read_text()))


def pods() -> dict[str, Any]:
    """The container of each workload, by the workload's kind."""
    found = {}
    for one in manifests():
        if one["kind"] in ("Job", "Deployment", "StatefulSet"):
            (found[one["kind"]],) = one["spec"]["template"]["spec"]["containers"]
    return found


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[str]:
    url = postgres.new_database("template0")
    yield url
    postgres.drop(url)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    made = [Server(tmp_path / name) for name in ("keeper", "server")]
    yield made
    for server in made:
        server.kill()


def migrated(arguments: list[str], url: str) -> str:
    environment = {"PATH": str(BIN), "AVOCET_STORE": url}
    done = subprocess.run(
        [BIN / "avocet-grpc", *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def deployed(server: Server, arguments: list[str], url: str, *, keeps: bool) -> Deployed:
    server.environment |= {"AVOCET_STORE": url}
    if keeps and not any("--data-dir" in one for one in arguments):
        server.environment["AVOCET_DATA_DIR"] = str(server.data)
    return Deployed(server, arguments)


def test_the_commands_of_compose_migrate_and_serve_from_a_keeper_and_a_server_without_a_disk(
    empty_database: str, servers: list[Server]
) -> None:
    services = compose()["services"]
    assert "steps run" in migrated(services["migrate"]["command"], empty_database)
    keeper, server = servers
    first = deployed(keeper, services["keeper"]["command"], empty_database, keeps=True)
    second = deployed(server, services["server"]["command"], empty_database, keeps=False)
    assert first.serves() and second.serves()
    eventually(keeper.candidates.exists)
    assert not server.candidates.exists()
    _, _, *arguments = services["server"]["healthcheck"]["test"]
    check = [sys.executable, *(one.replace("127.0.0.1:50051", server.address) for one in arguments)]
    assert subprocess.run(check, timeout=30).returncode == 0
    assert (keeper.stop(), server.stop()) == (0, 0)
    assert subprocess.run(check, capture_output=True, timeout=30).returncode != 0


def test_compose_names_what_it_has() -> None:
    whole = compose()
    services = whole["services"]
    databases = sorted(name for name in services if name.startswith("db"))
    members = sorted(name for name in services if name.startswith("etcd"))
    assert (len(databases), len(members)) == (3, 3)
    for name in ("migrate", "keeper", "server"):
        store = services[name]["environment"]["AVOCET_STORE"]
        assert sorted(re.split(r"[,@/]+", store)[2:-1]) == databases
    documented = set(re.findall(r"`(AVOCET_[A-Z_]+)`", (ROOT / "docs/operations.md").read_text()))
    for name in ("keeper", "server"):
        given = {key for key in services[name]["environment"] if key.startswith("AVOCET_")}
        assert given <= documented
        assert services[name]["read_only"] and services[name]["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
    for name in databases:
        environment = services[name]["environment"]
        assert environment["PATRONI_NAME"] == name
        assert environment["PATRONI_POSTGRESQL_CONNECT_ADDRESS"] == f"{name}:5432"
        assert environment["PATRONI_ETCD3_HOSTS"] == ",".join(f"{member}:2379" for member in members)
    mounted = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", ())}
    assert {name for name in mounted if not name.startswith(".")} == set(whole["volumes"])
    for one in services.values():
        for waited in one.get("depends_on", ()):
            assert waited in services
        built = CLUSTER / one["build"]["context"]
        assert (built / one["build"]["dockerfile"]).exists()


def test_the_image_of_a_database_node_holds_what_its_files_name() -> None:
    dockerfile = (CLUSTER / "Dockerfile").read_text()
    copied = dict(re.findall(r"^COPY (?:--chmod=\d+ )?(\S+) (\S+)$", dockerfile, re.MULTILINE))
    assert copied and all((CLUSTER / name).exists() for name in copied)
    patroni = yaml.safe_load((CLUSTER / "patroni.yaml").read_text())
    assert patroni["bootstrap"]["post_init"] in copied.values()
    (version,) = re.findall(r"postgresql-(\d+)", dockerfile)
    assert patroni["postgresql"]["bin_dir"] == f"/usr/lib/postgresql/{version}/bin"
    assert '"/etc/avocet/patroni.yaml"' in dockerfile and "/etc/avocet/patroni.yaml" in copied.values()
    assert patroni["bootstrap"]["dcs"]["synchronous_mode_strict"] is True


def test_etcd_takes_the_flags_of_each_member(tmp_path: Path) -> None:
    etcd = shutil.which("etcd")
    if etcd is None:
        pytest.skip("etcd is not here; `make setup-cluster` installs it")
    services = compose()["services"]
    for name in ("etcd1", "etcd2", "etcd3"):
        port, peer = free_port(), free_port()
        line = "\n".join(services[name]["command"])
        for pattern, replacement in {
            r"--data-dir=\S+": f"--data-dir={tmp_path / name}",
            r"--initial-cluster=\S+": f"--initial-cluster={name}=http://127.0.0.1:{peer}",
            r"http://[\w.]+:2379": f"http://127.0.0.1:{port}",
            r"http://[\w.]+:2380": f"http://127.0.0.1:{peer}",
        }.items():
            line = re.sub(pattern, replacement, line)
        with (tmp_path / f"{name}.log").open("wb") as output:
            process = subprocess.Popen([etcd, *line.split("\n")], stdout=output, stderr=output)
        try:
            log = tmp_path / f"{name}.log"
            eventually(lambda log=log: "ready to serve client requests" in log.read_text(), within=60)
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_kubernetes_schema_takes_each_manifest(manifest: Any) -> None:
    validate(manifest, KUBERNETES, strict=True)


def test_the_pods_migrate_and_serve_and_each_probe_finds_its_service(
    empty_database: str, servers: list[Server]
) -> None:
    found = pods()
    assert "steps run" in migrated(found["Job"]["args"], empty_database)
    assert not any("data" in one["mountPath"] for one in found["Deployment"]["volumeMounts"])
    for server, kind in zip(servers, ("StatefulSet", "Deployment"), strict=True):
        running = deployed(server, found[kind]["args"], empty_database, keeps=False)
        for probe in ("startupProbe", "readinessProbe"):
            assert running.serves(found[kind][probe]["grpc"].get("service", "")), probe
        # A server whose database is away does not serve, and a restart would not help it.
        alive = found[kind]["livenessProbe"]["httpGet"]
        assert alive == {"path": "/healthz", "port": "metrics"}
        (metrics,) = re.findall(r"metrics on (http\S+)/metrics", server.log)
        assert urllib.request.urlopen(metrics + alive["path"], timeout=10).status == 200
        ports = {port["containerPort"] for port in found[kind]["ports"]}
        assert ports == {int(one.rpartition(":")[2]) for one in found[kind]["args"] if "listen" in one}
        assert server.candidates.exists() == (kind == "StatefulSet")


def test_only_one_pod_may_keep_the_files_and_all_get_the_database_from_the_secret() -> None:
    replicas = {one["kind"]: one["spec"]["replicas"] for one in manifests() if "replicas" in one["spec"]}
    assert replicas == {"StatefulSet": 1, "Deployment": 2}
    for container in pods().values():
        env = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
        assert set(env) == {"AVOCET_STORE", "PGPASSWORD"}
        assert {one["name"] for one in env.values()} == {"avocet-database"}
    (service,) = [one for one in manifests() if one["kind"] == "Service"]
    for one in manifests():
        if one["kind"] in ("StatefulSet", "Deployment"):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert service["spec"]["selector"].items() <= labels.items()
            assert one["spec"]["selector"]["matchLabels"] == labels
