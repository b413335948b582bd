"""The packed client at a real server: over gRPC and gRPC-Web, from modules and CommonJS, in strict TypeScript."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from avocet_client.service_config import TIMEOUTS
from tests.support import SECRET, Server, record, write_records
from tests.typescript.conftest import CLIENT, compiled, node, part_of
from tests.web.support import web_bridge

pytestmark = pytest.mark.timeout(600)
APPROVED = 40


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    write_records(server.candidates, [record(f"c{n:02d}") for n in range(30)])
    approved = [record(f"e{n:02d}", status="approved", corrected_response=f"better {n}") for n in range(APPROVED)]
    write_records(server.approved, approved)
    yield server.start()
    server.kill()


@pytest.mark.parametrize("protocol", ["grpc", "grpc-web"])
@pytest.mark.parametrize(("program", "skipped"), [("suite", 2), ("team", 0)])
def test_what_the_client_promises_holds(
    project: Path, served: Server, protocol: str, program: str, skipped: int, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        address = served.address
        if protocol == "grpc-web":
            address = stack.enter_context(web_bridge(tmp_path / "web", served.address))
        variables = {"AVOCET_ADDRESS": address, "AVOCET_PROTOCOL": protocol, "AVOCET_TEST_SECRET": SECRET}
        done = node(project, "--test", "--test-force-exit", f"out/{program}.js", **variables)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert f"# skipped {skipped if protocol == 'grpc-web' else 0}" in done.stdout


def test_what_an_unsound_server_answers_is_told_apart(project: Path) -> None:
    done = node(project, "--test", "--test-force-exit", "out/scripted.js")
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize("program", ["mistakes", "states"])
def test_what_a_caller_does_wrong_is_told_at_once(project: Path, program: str) -> None:
    done = node(project, "--test", "--test-force-exit", f"out/{program}.js")
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def test_a_client_outlives_its_connections(project: Path, served: Server) -> None:
    variables = {"AVOCET_ADDRESS": served.address, "AVOCET_TEST_SECRET": SECRET}
    done = node(project, "--test", "--test-force-exit", "out/sessions.js", **variables)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]


def test_a_process_ends_although_it_broke_exports_off(project: Path, served: Server) -> None:
    done = node(project, "out/broken_off.js", AVOCET_ADDRESS=served.address)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("program", ["smoke.mjs", "smoke.cjs"])
def test_it_loads_from_modules_and_from_commonjs(project: Path, served: Server, program: str) -> None:
    done = node(project, program, AVOCET_ADDRESS=served.address)
    assert done.stdout.split() == ["true", "true", "function", "function"], done.stderr


@pytest.mark.parametrize("protocol", ["grpc", "grpc-web"])
def test_calls_and_exports_last_over_a_restart_of_the_server(
    project: Path, served: Server, protocol: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        address = served.address
        if protocol == "grpc-web":
            address = stack.enter_context(web_bridge(tmp_path / "web", served.address))
        variables = {"AVOCET_ADDRESS": address, "AVOCET_PROTOCOL": protocol, "AVOCET_TEST_SECRET": SECRET}
        program = stack.enter_context(
            subprocess.Popen(
                ["node", "out/outage.js"],
                cwd=project,
                env=dict(os.environ) | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(program.kill)
        assert program.stdin and program.stdout

        def said() -> object:
            assert program.stdout
            return json.loads(program.stdout.readline())

        def go_on() -> None:
            assert program.stdin
            program.stdin.write("\n")
            program.stdin.flush()

        assert said() == "begun"
        served.listen = served.address
        served.kill()
        go_on()
        assert said() == "TransportError"
        assert said() == "calling"
        served.start()
        go_on()
        assert said() is True
        assert said() == [f"e{n:02d}" for n in range(APPROVED)]
        assert said() == ["c01", "c02", "c05", "c03"]
    assert dict(served.stats().by_status) == {"needs_review": 26, "discarded": 4}


def test_a_wrong_program_does_not_compile(project: Path) -> None:
    wrong = {
        "unknown field": 'await client.submit({ id: "a", colour: "blue" });',
        "number for bigint": "await client.submit({ id: 'a', expectedRevision: 1 });",
        "no such method": "await client.approve({ id: 'a' });",
        "candidate may be absent": "(await client.getCandidate({ id: 'a' })).candidate.id;",
    }
    for what, line in wrong.items():
        program = (
            "import { correctionsClient } from '@avocet/client/node';\n"
            f"const client = correctionsClient('127.0.0.1:1');\n{line}\n"
        )
        done = compiled(part_of(project, {"wrong.ts": program}))
        assert done.stdout.count("error TS") == 1 and "wrong.ts(3," in done.stdout, what


def test_each_method_has_the_deadline_that_the_python_client_has() -> None:
    text = (CLIENT / "src/gen/deadlines.ts").read_text()
    stated = dict(line.strip().rstrip(",").split(": ") for line in text.splitlines() if line.endswith("0,"))
    assert {name: int(value.replace("_", "")) / 1_000 for name, value in stated.items()} == dict(TIMEOUTS)


def test_the_package_has_what_it_exports_and_nothing_else(project: Path) -> None:
    installed = project / "node_modules/@avocet/client"
    assert sorted(path.name for path in installed.iterdir()) == ["LICENSE", "README.md", "dist", "package.json"]
    exports = json.loads((installed / "package.json").read_text())["exports"]
    for paths in exports.values():
        assert all((installed / path).is_file() for path in paths.values())
