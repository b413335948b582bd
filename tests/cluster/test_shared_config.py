"""The configuration is the same at every server, and in the keeper's config file."""

from __future__ import annotations

from pathlib import Path

from avocet_client.v1 import corrections_pb2 as pb
from tests.cluster.support import ended, filled, new_server, soon
from tests.support import Server


def directory_of(server: Server) -> str:
    return str(server.stub.GetConfig(pb.GetConfigRequest()).config.bench_results_dir)


def test_what_one_server_or_another_program_sets_all_servers_and_the_keepers_file_say(
    database: str, tmp_path: Path
) -> None:
    file = tmp_path / "keeper/config/label_tool.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("sft:\n  bench_results_dir: /from/the/file # kept\nother: 1\n")
    keeper = filled(tmp_path / "keeper", database)
    other = new_server(tmp_path / "other", database)
    with ended(keeper, other.start()):
        soon(lambda: directory_of(other) == directory_of(keeper) == "/from/the/file")
        other.runs.mkdir(exist_ok=True)
        other.set_runs_directory()
        assert directory_of(keeper) == directory_of(other) == str(other.runs)
        soon(lambda: str(other.runs) in file.read_text())
        assert "# kept" in file.read_text() and "other: 1" in file.read_text()
        file.write_text("sft:\n  bench_results_dir: /by/the/legacy/app\n")
        soon(lambda: directory_of(other) == directory_of(keeper) == "/by/the/legacy/app")
        file.unlink()
        keeper.kill()
        keeper.start()
        soon(lambda: file.exists() and "/by/the/legacy/app" in file.read_text())
        assert directory_of(other) == "/by/the/legacy/app"
        assert not (other.config / "label_tool.yaml").exists()
