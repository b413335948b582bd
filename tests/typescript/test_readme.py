"""The snippets of the client's README compile under `tsc --strict` and run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.readme import serve
from tests.support import SECRET, Server, record
from tests.typescript.conftest import CLIENT, compiled, node, part_of

pytestmark = pytest.mark.timeout(600)
README = (CLIENT / "README.md").read_text()
SNIPPETS = re.findall(r"^```ts\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = serve(tmp_path_factory.mktemp("readme"))
    # The snippet of the review decides all that is of the type `code`; later ones need candidates, too.
    lines = "".join(f"{json.dumps(record(f'w{n}', task_type='summary'))}\n" for n in range(4))
    server.stub.UploadRun(iter([pb.UploadRunRequest(run_id="more", lines=lines.encode())]))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def snippets(project: Path, served: Server) -> Path:
    """The snippets, compiled, with a test's server in place of the README's."""
    adapted = [snippet.replace("127.0.0.1:50051", served.address).replace("a-secret", SECRET) for snippet in SNIPPETS]
    part = part_of(project, {f"snippet{number}.ts": text for number, text in enumerate(adapted)})
    done = compiled(part)
    assert done.returncode == 0, done.stdout
    return part


def test_the_snippets_run_one_after_the_other(snippets: Path) -> None:
    for number in range(len(SNIPPETS)):
        runs(snippets, number)


def runs(snippets: Path, number: int) -> None:
    done = node(snippets, f"out/snippet{number}.js")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "refused++" in SNIPPETS[number] or '"refused"' in SNIPPETS[number]:
        assert done.stdout == "0 refused\n"
    if "client.changes(" in SNIPPETS[number]:
        assert re.match(r"w\d discarded ", done.stdout) and "resumeToken" in done.stdout
    if "client.sendRun(" in SNIPPETS[number]:
        assert done.stdout == "1n imported, 1n malformed, the first in line 2n\n"
    if "client.export(" in SNIPPETS[number]:
        ids = re.findall(r"\be\d+$", done.stdout, re.MULTILINE)
        assert len(ids) == len(set(ids)) > 40


def test_the_readme_names_every_class_of_error() -> None:
    exported = re.findall(r"^export class (\w+)", (CLIENT / "src/errors.ts").read_text(), re.MULTILINE)
    for name in exported:
        assert f"`{name}`" in README, name
