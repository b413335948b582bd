"""The files in deploy/, checked by the tools that read them; their command lines run as they would in a container."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kubernetes_validate import validate

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.support import new_token
from tests.operate.test_metrics import scrape
from tests.support import BIN, ROOT, Server, eventually

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "avocet-corrections.service"
KUBERNETES = "1.31"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["corrections"]


def manifests() -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes/corrections.yaml").read_text()))


def container() -> Any:
    (stateful,) = [one for one in manifests() if one["kind"] == "StatefulSet"]
    (found,) = stateful["spec"]["template"]["spec"]["containers"]
    return found


def test_systemd_takes_the_unit_and_finds_it_well_enclosed(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert "/opt/avocet/bin/avocet-grpc" in text
    unit.write_text(text.replace("/opt/avocet/bin/avocet-grpc", str(BIN / "avocet-grpc")))
    verified = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0 and unit.name not in verified.stderr, verified.stderr
    secure = [analyze, "security", "--offline=true", "--threshold=20", str(unit)]
    assert subprocess.run(secure, capture_output=True, timeout=60).returncode == 0


class Deployed:
    """A server started by a command line of deploy/, with directories and ports of its own."""

    def __init__(self, server: Server, arguments: list[str]) -> None:
        tokens = server.directory / "tokens.yaml"
        new_token(tokens, "alice", "reader")
        swaps = {
            r"--listen=0\.0\.0\.0:50051": "--listen=127.0.0.1:0",
            r"--metrics-listen=0\.0\.0\.0:9464": "--metrics-listen=127.0.0.1:0",
            r"(--data-dir[= ])\S+": rf"\g<1>{server.data}",
            r"(--config-dir[= ])\S+": rf"\g<1>{server.config}",
            r"--tokens-file=\S+": f"--tokens-file={tokens}",
        }
        line = "\n".join(arguments)
        for pattern, replacement in swaps.items():
            line = re.sub(pattern, replacement, line)
        server.command = [str(BIN / "avocet-grpc"), *line.split("\n")]
        server.start()
        self.server = server

    def serves(self, service: str = "") -> bool:
        stub: Any = health_pb2_grpc.HealthStub(self.server.open_channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_the_units_command_line_serves_and_its_reload_is_survived(stopped_server: Server) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/avocet/bin/avocet-grpc (.*)$", UNIT.read_text(), re.MULTILINE)
    stopped_server.environment = {"AVOCET_LISTEN": "127.0.0.1:0"}
    deployed = Deployed(stopped_server, line.replace(" --", "\n--").replace("-dir ", "-dir=").split("\n"))
    assert deployed.serves()
    subprocess.run(["kill", "-HUP", str(stopped_server.process.pid)], check=True)
    assert deployed.serves()
    assert stopped_server.stop() == 0


def test_composes_command_serves_and_its_health_check_knows_a_server_from_none(stopped_server: Server) -> None:
    service = compose()
    deployed = Deployed(stopped_server, service["command"])
    kind, python, *arguments = service["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python")
    check = [sys.executable, *(one.replace("127.0.0.1:50051", stopped_server.address) for one in arguments)]
    assert subprocess.run(check, timeout=30).returncode == 0
    assert "avocet_calls_total" in scrape(deployed.server)
    assert stopped_server.stop() == 0
    assert subprocess.run(check, capture_output=True, timeout=30).returncode != 0


def test_the_containers_are_closed_in() -> None:
    service = compose()
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    context = container()["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    (stateful,) = [one for one in manifests() if one["kind"] == "StatefulSet"]
    assert int(user) == stateful["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert service["user"].split(":")[0] == user


def test_the_image_is_built_of_what_both_packages_name_and_of_nothing_left_by_another_build(tmp_path: Path) -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        *names, place = line.split()
        for source in (ROOT / name for name in names):
            if source.is_dir():
                shutil.copytree(source, tmp_path / place)
            else:
                (tmp_path / place).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, tmp_path / place / source.name)
    for root, package in ((tmp_path, "avocet_grpc"), (tmp_path / "clients/python", "avocet_client")):
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        named = {"pyproject.toml", project["readme"], *project["license-files"], package}
        assert {path.name for path in root.iterdir()} - {"clients"} == named
        assert (root / package / "__init__.py").exists()


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: one["kind"])
def test_kubernetes_schema_takes_each_manifest(manifest: Any) -> None:
    validate(manifest, KUBERNETES, strict=True)


def test_the_pods_command_serves_and_each_probe_finds_its_service(stopped_server: Server) -> None:
    deployed = Deployed(stopped_server, container()["args"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert deployed.serves(container()[probe]["grpc"].get("service", "")), probe
    ports = {port["containerPort"] for port in container()["ports"]}
    asked = {int(argument.rpartition(":")[2]) for argument in container()["args"] if "listen" in argument}
    assert ports == asked


def test_the_clients_round_robin_of_the_manifest_works_as_it_is_written(quiet_server: Server) -> None:
    text = (DEPLOY / "kubernetes/corrections.yaml").read_text()
    (config,) = re.findall(r"service config (\{.*\})$", text, re.MULTILINE)
    options = [("grpc.service_config", json.dumps(json.loads(config)))]
    with grpc.insecure_channel(f"dns:///{quiet_server.address}", options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status


def alerts() -> list[Any]:
    return [rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for rule in alerts()]


def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run([tool("promtool"), "check", "rules", str(DEPLOY / "alerts.yaml")], timeout=60)
    assert checked.returncode == 0


def test_every_metric_of_the_dashboard_and_the_alerts_is_there(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0"}
    server = stopped_server.start()
    server.stats()
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c"))
    shown = eventually(lambda: text if "avocet_calls_total" in (text := scrape(server)) else None)
    names = {name for text in expressions() for name in re.findall(r"\b(?:avocet|process)_\w+", text)}
    names -= {"avocet_keeper_last_seen", "avocet_keeper_lag_revisions"}  # Shown if servers share the ledger.
    assert len(names) > 15
    # A counter without a label's value yet shows its description alone.
    described = re.findall(r"^# HELP (\w+)|^(\w+)", shown, re.MULTILINE)
    assert names <= {name for pair in described for name in pair}
