"""Both packages as their users install them: wheels, in environments that have nothing else."""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import avocet_client
from tests.client.readme import snippets
from tests.packaging.wheels import (
    PACKAGES,
    PYTHONS,
    Environment,
    build_wheel,
    empty_environment,
    interpreter,
    oldest,
    requirements_of,
)
from tests.support import ROOT, SECRET, Server, record, write_records

FULL = os.environ.get("WHEELS") == "full"
"""Whether to test every version of Python; without it, the oldest alone."""
pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("wheels")]

README_SNIPPET = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]
VERSIONS = [(python, age) for python in PYTHONS for age in ("newest", "oldest")]
"""Pythons, and whether every dependency is the newest or the oldest that is declared."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("wheels")
    return {package: build_wheel(package, directory) for package in PACKAGES}


def python_for(version: str) -> str:
    """Return the interpreter. Warn and skip the test if there is none."""
    path = interpreter(version)
    if path is None:
        warnings.warn(f"LEFT OUT: there is no Python {version} here to test the wheels with", stacklevel=2)
        pytest.skip(f"there is no Python {version} here")
    return path


@pytest.mark.parametrize(("version", "age"), [one for one in VERSIONS if FULL or one[0] == PYTHONS[0]])
def test_server_and_client_work_together_with_what_they_declare_and_nothing_else(
    wheels: dict[str, Path], tmp_path: Path, version: str, age: str
) -> None:
    installed = empty_environment(tmp_path / "installed", python_for(version))
    requirements = requirements_of("avocet-grpc") + requirements_of("avocet-client", "cli")
    pins = oldest(requirements) if age == "oldest" else []
    installed.install(*pins, f"{wheels['avocet-client']}[cli]", str(wheels["avocet-grpc"]))
    for program in ("avocet", "avocet-grpc"):
        assert installed.run(program, "--version").stdout == f"{program} {avocet_client.__version__}\n"
        assert "--version" in installed.run(program, "--help").stdout
    serve_and_review(installed, tmp_path)


def serve_and_review(installed: Environment, directory: Path) -> None:
    """A session of the installed command with the installed server, to the server's clean stop."""
    server = Server(directory)
    write_records(server.candidates, [record("a"), record("b")])
    flags = ["--listen", "127.0.0.1:0", "--data-dir", str(server.data), "--config-dir", str(server.config)]
    server.command = [str(installed.bin / "avocet-grpc"), "serve", *flags]
    server.start(within=60)
    try:
        at: dict[str, Any] = {"AVOCET_ADDRESS": server.address, "AVOCET_TOKEN": SECRET, "AVOCET_REVIEWER": "kim"}
        assert "SERVING" in installed.run("avocet", "health", **at).stdout
        assert "2 of 2 in review" in installed.run("avocet", "queue", **at).stdout
        editor = directory / "editor"
        editor.write_text('#!/bin/sh\nsleep 0.01; echo edited > "$1"\n')
        editor.chmod(0o755)
        decided = installed.run("avocet", "submit", "a", "--json", EDITOR=str(editor), VISUAL=str(editor), **at)
        assert json.loads(decided.stdout)["corrected_response"] == "edited"
        one = ("--source", "s", "--task-type", "t", "--prompt", "p", "--correction", "c")
        assert "stored as" in installed.run("avocet", "ingest", *one, **at).stdout
        rows = installed.run("avocet", "export", "--format", "sft", **at).stdout.splitlines()
        assert len(rows) == 2
        assert server.stop() == 0
    finally:
        server.kill()


def test_the_bare_client_needs_four_projects_and_says_which_extra_the_command_needs(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    bare = empty_environment(tmp_path / "bare").install(str(wheels["avocet-client"]))
    listed = json.loads(bare.run("python", "-m", "pip", "list", "--format=json").stdout)
    assert {each["name"] for each in listed} - {"pip", "setuptools"} == {
        "avocet-client",
        "googleapis-common-protos",
        "grpcio",
        "grpcio-health-checking",
        "protobuf",
        "typing_extensions",  # of grpcio
    }
    code = "from avocet_client import CorrectionsClient; CorrectionsClient('127.0.0.1:1'); import avocet_client.v1"
    bare.run("python", "-c", code)
    assert "clients/python[cli]" in bare.run("avocet", code=1).stderr
    packaged = next(bare.directory.glob("lib/python*/site-packages/avocet_client"))
    files = {str(path.relative_to(packaged)) for path in packaged.rglob("*")}
    assert {"py.typed", "v1/service_config.json", "v1/corrections_pb2.pyi", "web/page/index.html"} <= files
    bare.install("mypy")
    for number, snippet in enumerate([README_SNIPPET, *(snippet.text for snippet in snippets("python")[:4])]):
        (bare.directory / f"snippet{number}.py").write_text(snippet)
        bare.run("mypy", "--strict", f"snippet{number}.py")


@pytest.mark.skipif(not FULL, reason="the data set libraries are large; 'make test-wheels' installs them")
@pytest.mark.parametrize("age", ["newest", "oldest"])
def test_the_extra_for_data_sets_brings_what_they_need(wheels: dict[str, Path], tmp_path: Path, age: str) -> None:
    pins = oldest(requirements_of("avocet-client", "datasets")) if age == "oldest" else []
    environment = empty_environment(tmp_path / "data").install(*pins, f"{wheels['avocet-client']}[datasets]")
    environment.run("python", "-c", "import avocet_client.datasets")


EXTRAS = {
    "web": ("avocet-client", "from avocet_client.web import serve, site"),
    "postgres": ("avocet-grpc", "from avocet_grpc.store.postgres import engine, migrate"),
    "otel": (
        "avocet-grpc",
        "from opentelemetry.instrumentation import grpc; import opentelemetry.exporter.otlp.proto.grpc",
    ),
}
"""Each small extra: its package, and what works once it is installed."""


@pytest.mark.skipif(not FULL, reason="one environment for each; 'make test-wheels' makes them")
@pytest.mark.parametrize("age", ["newest", "oldest"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_brings_what_it_is_for(wheels: dict[str, Path], tmp_path: Path, extra: str, age: str) -> None:
    package, code = EXTRAS[extra]
    pins = oldest(requirements_of(package, extra)) if age == "oldest" else []
    others = [str(wheels["avocet-client"])] if package == "avocet-grpc" else []
    environment = empty_environment(tmp_path / "extra").install(*pins, *others, f"{wheels[package]}[{extra}]")
    environment.run("python", "-c", code)
    if extra == "web":
        assert "browser" in environment.run("avocet", "web", "--help").stdout
