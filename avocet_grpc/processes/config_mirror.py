"""The keeper's share in the configuration: `label_tool.yaml` says what the database has, and the other way round."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from avocet_grpc.adapters.config_file import YamlConfigFile
from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.store.postgres.config import StoredConfig

LOOK_EVERY_S = 1.0

log = structlog.get_logger("avocet_grpc")


class ConfigMirror:
    """Keeps one value level. The database's counts, until another program changes the file."""

    def __init__(self, stored: StoredConfig, config_dir: Path) -> None:
        self._stored, self._file = stored, YamlConfigFile(config_dir)
        self._level: str | None = None
        self._next = 0.0
        self._said = ""

    def look(self) -> None:
        """Look at both, once a second at most. An error is logged once, and the next look tries again."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_EVERY_S
        try:
            self._bring_level()
            self._said = ""
        except CorrectionsError as error:
            if self._said != (text := str(error)):
                self._said = text
                log.error("label_tool.yaml not brought up to date", error=text)

    def _bring_level(self) -> None:
        stored, in_file = self._stored.stored(), self._file.bench_results_dir()
        # A file that is missing or cannot be read says nothing.
        is_changed = self._level is not None and in_file not in (self._level, "")
        if (stored is None and in_file) or (is_changed and in_file != stored):
            self._stored.set_bench_results_dir(in_file)
            stored = in_file
        elif stored is not None and in_file != stored:
            self._file.set_bench_results_dir(stored)
        self._level = stored
