"""`avocet legacy --allow-origin`: pages of that origin call, from a real Chromium, and those of any other do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import SECRET, Server, eventually, record, write_records
from tests.web.browser_programs import Program
from tests.web.support import ask, avocet, legacy_front
from tests.web.test_foreign_pages import listening

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}


def seen(page: str, address: str) -> dict[str, Any]:
    variables = {"AVOCET_FOREIGN": page, "AVOCET_API": f"http://{address}/api/sft", "AVOCET_SECRET": SECRET}
    with Program("allowed.mjs", page, **variables) as browser:
        (found,) = browser.lines()
    return dict(found)


def test_a_page_of_an_allowed_origin_reads_changes_and_sends_tokens_and_another_does_none_of_it(
    server: Server, tmp_path: Path
) -> None:
    write_records(server.candidates, [record("a")])
    eventually(lambda: server.stats().total == 1)
    with (
        listening() as (page, _),
        listening() as (other, _),
        legacy_front(tmp_path, server.address, "--allow-origin", page.upper()) as address,
    ):
        assert set(seen(other, address).values()) == {"refused"}
        assert dict(server.stats().by_status) == {"needs_review": 1}
        assert seen(page, address) == {
            "queue": 200,
            "no such path": 404,
            "submit": 200,
            "submit again": 409,
            "ingest": 200,
            "export": 200,
            "download": "attachment",
        }


def test_a_preflight_is_answered_to_the_allowed_origin_alone(quiet_server: Server, tmp_path: Path) -> None:
    flags = ["--allow-origin", "https://Label.Example:443/"]
    with legacy_front(tmp_path, quiet_server.address, *flags) as address:
        path = "/api/sft/submit"
        ours = ask(address, "OPTIONS", path, headers=PREFLIGHT | {"origin": "https://label.example"})
        assert ours.status == 204 and ours.headers["access-control-allow-origin"] == "https://label.example"
        assert "POST" in ours.headers["access-control-allow-methods"]
        assert {"authorization", "content-type"} <= set(ours.headers["access-control-allow-headers"].split(", "))
        assert "access-control-allow-credentials" not in ours.headers
        assert ours.headers["vary"].lower() == "origin"
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://label.example"},
            {"origin": "https://label.example:8443"},
            {"origin": "https://label.example.evil.example"},
            {"origin": "https://label.example", "host": "evil.example"},
            {},
        ):
            for method, asked in (("OPTIONS", PREFLIGHT), ("GET", {})):
                answer = ask(address, method, path, headers=asked | headers)
                assert answer.status >= 400, headers
                assert not [name for name in answer.headers if name.startswith("access-control-")], headers
            assert ask(address, "GET", "/api/sft/stats", headers=headers).headers["vary"].lower() == "origin"


def test_without_the_flag_no_preflight_is_answered(quiet_server: Server, tmp_path: Path) -> None:
    with legacy_front(tmp_path, quiet_server.address) as address:
        answer = ask(address, "OPTIONS", "/api/sft/submit", headers=PREFLIGHT | {"origin": f"http://{address}"})
        assert answer.status == 405
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "origin",
    [
        "label.example",
        "https://x/path",
        "*",
        "null",
        "ftp://x",
        "https://",
        "https://x?q",
        "https://x#f",
        "https://u:p@x",
        "https://x:99999",
        "https://x:y",
        "https://läbel.example",
        "https://*.example",
        "https://x\\y",
    ],
)
def test_an_origin_that_no_page_can_have_is_refused(origin: str, quiet_server: Server, tmp_path: Path) -> None:
    flags = ["legacy", "--listen", "127.0.0.1:0", "--address", quiet_server.address, "--allow-origin", origin]
    with avocet(tmp_path, *flags) as (process, _, err):
        assert process.wait(timeout=30) == 2
        said = err.read_text()
        assert "https://label.example" in said and "Traceback" not in said
