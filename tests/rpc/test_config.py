"""The config file that the service shares with the legacy application."""

from __future__ import annotations

import os
import stat

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of

SHARED = """\
# who may log in
users:
  zoe: "s3cret"   # an old one
  abe: 'x'
sft:
  other: [1, 2]  # of the legacy app
  bench_results_dir: /old
  last: yes
backup: {keep: 3}
"""


def set_directory(server: Server, value: str) -> str:
    answer = server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=value)))
    return answer.config.bench_results_dir


def get_directory(server: Server) -> str:
    return server.stub.GetConfig(pb.GetConfigRequest()).config.bench_results_dir


@pytest.mark.files("the file label_tool.yaml")
def test_a_new_config_file_is_readable_by_its_owner_only(server: Server) -> None:
    path = server.config / "label_tool.yaml"
    assert get_directory(server) == ""
    assert set_directory(server, "/some/where") == "/some/where"
    assert get_directory(server) == "/some/where"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.files("the file label_tool.yaml")
def test_setting_the_directory_changes_that_key_alone(server: Server) -> None:
    path = server.config / "label_tool.yaml"
    path.write_text(SHARED)
    path.chmod(0o640)
    assert get_directory(server) == "/old"
    set_directory(server, "/new dir: with # signs")
    text = path.read_text()
    kept = [line for line in SHARED.splitlines() if "bench_results_dir" not in line]
    assert [line for line in text.splitlines() if "bench_results_dir" not in line] == kept
    assert get_directory(server) == "/new dir: with # signs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(server.config) == ["label_tool.yaml"]
    set_directory(server, "")
    assert get_directory(server) == ""


@pytest.mark.files("the file label_tool.yaml")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sft: { a: 1, # x\n  b: 2 }\n", "sft: {bench_results_dir: '/new', a: 1, # x\n  b: 2 }\n"),
        ("sft: {\n # inner\n} # c\n", "sft: {bench_results_dir: '/new'\n # inner\n} # c\n"),
        (
            "sft:\n  bench_results_dir: |-\n    /a\n  # c\n  b: 1\n",
            "sft:\n  bench_results_dir: '/new'\n  # c\n  b: 1\n",
        ),
        ("sft:\n  bench_results_dir: >\n    /a\n\n# c\nz: 1\n", "sft:\n  bench_results_dir: '/new'\n\n# c\nz: 1\n"),
    ],
)
def test_comments_stay_whatever_the_style_of_the_section(server: Server, before: str, after: str) -> None:
    path = server.config / "label_tool.yaml"
    path.write_text(before)
    set_directory(server, "/new")
    assert get_directory(server) == "/new"
    assert path.read_text() == after


@pytest.mark.files("the file label_tool.yaml")
@pytest.mark.parametrize(
    "before",
    [
        "c: ~\ng: |-\n   x\n",
        "h:   [1,\n  2]\nsft: {}\n",
        "h:   [1,\n  2]\nsft:\nlast: ~\n",
        "sft: ~  # none yet\nlast: 1\n",
        "\ufeffa: 1\n",
    ],
)
def test_adding_the_key_leaves_every_other_character_as_it_was(server: Server, before: str) -> None:
    path = server.config / "label_tool.yaml"
    path.write_bytes(before.encode())
    set_directory(server, "/new")
    assert get_directory(server) == "/new"
    after = path.read_bytes().decode()
    assert all(line.rstrip(" ~{}") in after for line in before.splitlines() if not line.startswith("sft: ~"))
    assert after.startswith(before[:4])
    assert len(after) <= len(before) + len("sft:\n {bench_results_dir: '/new'}\n")


@pytest.mark.files("the file label_tool.yaml")
def test_a_section_that_is_another_one_by_an_alias_is_left_alone(server: Server) -> None:
    path = server.config / "label_tool.yaml"
    path.write_text(text := "base: &b {bench_results_dir: /z}\nsft: *b\n")
    failure = failure_of(lambda: set_directory(server, "/new"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_UNREADABLE")
    assert path.read_text() == text


@pytest.mark.files("the file label_tool.yaml")
def test_a_config_file_that_is_none_holds_nothing_up(server: Server) -> None:
    path = server.config / "label_tool.yaml"
    for make in (os.mkfifo, os.mkdir):
        make(path)
        assert get_directory(server) == ""
        failure = failure_of(lambda: set_directory(server, "/new"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_UNREADABLE")
        path.unlink() if make is os.mkfifo else path.rmdir()
    assert server.stop() == 0


@pytest.mark.files("the file label_tool.yaml")
@pytest.mark.parametrize("broken", ["a: [1\nb: }", "- a list\n", "just a word\n", "a: 1\n\tb: 2\n"])
def test_a_file_that_is_no_yaml_mapping_is_left_alone(server: Server, broken: str) -> None:
    path = server.config / "label_tool.yaml"
    path.write_text(broken)
    assert get_directory(server) == ""
    failure = failure_of(lambda: set_directory(server, "/new"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_UNREADABLE")
    assert str(server.config) not in failure.message
    assert path.read_text() == broken


@pytest.mark.files("the file label_tool.yaml")
@pytest.mark.parametrize(
    "text",
    [
        "sft:\n  bench_results_dir: /a\n  bench_results_dir: /b\n",
        "sft: {bench_results_dir: /a}\nother: 1\nother: 2\n",
        "sft: {bench_results_dir: /a}\nsft: {bench_results_dir: /b}\n",
    ],
    ids=["the key", "another key", "the section"],
)
def test_a_file_with_a_key_twice_is_unreadable_for_reading_as_for_writing(server: Server, text: str) -> None:
    path = server.config / "label_tool.yaml"
    path.write_text(text)
    assert get_directory(server) == ""
    assert failure_of(lambda: set_directory(server, "/new")).reason == "CONFIG_UNREADABLE"
    assert path.read_text() == text
    path.write_text("sft: {bench_results_dir: /mended}\n")
    assert get_directory(server) == "/mended"
