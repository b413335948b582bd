"""What the core asks of the config file."""

from __future__ import annotations

from typing import Protocol


class ConfigFile(Protocol):
    """`<config-dir>/label_tool.yaml`, shared with the legacy app."""

    def bench_results_dir(self) -> str:
        """Return the key `sft.bench_results_dir`; empty if it, or a readable file, is absent."""

    def set_bench_results_dir(self, value: str) -> None:
        """Change that key alone, atomically.

        Raises ConfigUnreadable if the file is not a YAML mapping, if it cannot be written, or if another program is
        writing it.
        """
