"""The stubs are generated as protos/README.md says, from a fresh copy of the files, and are what a compiler accepts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.support import ROOT, Server, record, write_records

PROTOS = ROOT / "protos"
PAGE = (PROTOS / "README.md").read_text()
JARS = Path("/usr/share/java")
GO_PACKAGES = Path("/usr/share/gocode")
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The directory as git has it."""
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=PROTOS, capture_output=True, text=True, check=True).stdout.splitlines():
        target = tmp_path / "protos" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROTOS / name, target)
    return tmp_path / "protos"


def need(*tools: str) -> None:
    """Skip the test, with a warning, if a tool is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None and not Path(tool).exists()]
    if missing:
        warnings.warn(f"LEFT OUT: {', '.join(missing)} is missing; 'make setup-protos' installs it", stacklevel=2)
        pytest.skip(f"{', '.join(missing)} is missing")


def run(directory: Path, *command: str, **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": ""} | variables
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def generate(language: str, directory: Path) -> None:
    """Run the section's commands."""
    (section,) = re.findall(rf"^## {language}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    run(directory, "bash", "-euo", "pipefail", "-c", commands)


def test_pythons_own_tools_make_stubs_that_call_the_server(fresh: Path, server: Server) -> None:
    generate("Python", fresh)
    code = f"""if True:
        import grpc
        from avocet.corrections.v1 import corrections_pb2 as pb, corrections_pb2_grpc
        stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel({server.address!r}))
        print(stub.Stats(pb.StatsRequest()).total)
    """
    write_records(server.candidates, [record("a")])
    assert run(fresh / "gen/python", str(fresh / "gen/venv/bin/python"), "-c", code).strip().isdecimal()


def test_buf_makes_typescript_that_the_compiler_accepts(fresh: Path) -> None:
    need("npm")
    generate("TypeScript", fresh)
    npm = fresh / "gen/npm"
    run(fresh, "npm", "install", "--silent", "--prefix", str(npm), "typescript@^5")
    shutil.copytree(fresh / "gen/typescript", npm / "src")
    (npm / "src/caller.ts").write_text(
        'import { create, toBinary } from "@bufbuild/protobuf";\n'
        'import { CorrectionsService, StatsRequestSchema } from "./avocet/corrections/v1/corrections_pb.js";\n'
        "const request: Uint8Array = toBinary(StatsRequestSchema, create(StatsRequestSchema, {}));\n"
        "console.log(request.length, CorrectionsService.method.stats.name);\n"
    )
    (npm / "package.json").write_text('{"type": "module"}')
    flags = ["--strict", "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022"]
    run(npm, "node_modules/.bin/tsc", *flags, "--skipLibCheck", "--outDir", "out", "src/caller.ts")
    assert run(npm, "node", "out/caller.js") == "0 Stats\n"


def test_protoc_makes_go_that_the_compiler_accepts(fresh: Path) -> None:
    need("protoc", "protoc-gen-go", "protoc-gen-go-grpc", "go", str(GO_PACKAGES / "src/google.golang.org/grpc"))
    generate("Go", fresh)
    module = fresh / "gopath/src/example.com/you"
    module.mkdir(parents=True)
    shutil.copytree(fresh / "gen/go", module, dirs_exist_ok=True)
    variables = {"GO111MODULE": "off", "GOPATH": f"{fresh / 'gopath'}:{GO_PACKAGES}", "GOCACHE": str(fresh / "cache")}
    run(module, "go", "build", "./...", **variables, GOFLAGS="")


def test_protoc_makes_java_that_the_compiler_accepts(fresh: Path) -> None:
    need("protoc", "grpc_java_plugin", "javac", str(JARS / "grpc-stub.jar"), str(JARS / "protobuf.jar"))
    generate("Java", fresh)
    sources = [str(path) for path in (fresh / "gen/java").rglob("*.java")]
    jars = ":".join(str(path) for path in JARS.glob("*.jar") if not re.search(r"-\d", path.name))
    jars += f":{JARS / 'geronimo-annotation-1.3-spec.jar'}"
    run(fresh, "javac", "-nowarn", "-cp", jars, "-d", "classes", *sources)
    made = {path.name for path in (fresh / "classes").rglob("*.class")}
    assert {"CorrectionsServiceGrpc.class", "Status.class"} <= made


def test_nothing_beside_the_directory_is_needed_and_googles_file_has_its_licence(fresh: Path) -> None:
    out = fresh / "set.bin"
    command = ["-m", "grpc_tools.protoc", "-I", ".", "--include_imports", f"--descriptor_set_out={out}"]
    protos = sorted(str(path.relative_to(fresh)) for path in fresh.glob("avocet/**/*.proto"))
    run(fresh, sys.executable, *command, *protos)
    assert out.stat().st_size > 1_000
    assert "Licensed under the Apache License, Version 2.0" in (fresh / "google/rpc/status.proto").read_text()
