"""An export as a Hugging Face `IterableDataset`; needs `avocet-client[datasets]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Unpack

import datasets
import numpy as np
from datasets.iterable_dataset import _BaseExamplesIterable

from avocet_client.client import CorrectionsClient
from avocet_client.export_options import ExportOptions
from avocet_client.render import Render, Row, to_sft
from avocet_client.rows import Rows, pinned


def iterable_dataset(
    client: CorrectionsClient,
    *,
    render: Render = to_sft,
    num_shards: int = 1,
    **options: Unpack[ExportOptions],
) -> datasets.IterableDataset:
    """Return a data set of the export's rows, as `render` makes them. It reads from the service while you iterate.

    `options` are those of `ExportOptions`. The data set is pinned to one revision: the present one, if neither
    `at_revision` nor `snapshot` is given. Nodes that share an export must all give the same one.

    `num_shards` is the largest number of readers. One worker of one node reads each of the server's shards. Take a
    multiple of nodes times workers. `datasets.distributed.split_dataset_by_node` then gives each node its own shards,
    and the server sends each example once in all.

    `state_dict()` and `load_state_dict()` continue at the very row, and read nothing again that came before it.
    """
    pinned_options, revision = pinned(client, options)
    export = _ExportIterable(client, render, list(range(num_shards)), num_shards, pinned_options, revision)
    return datasets.IterableDataset(export)


class _ExportIterable(_BaseExamplesIterable):  # type: ignore[misc]
    """Some of the server's shards, one after another, as the library asks its sources to be."""

    _sleep_on_threads_shutdown = False

    def __init__(
        self,
        client: CorrectionsClient,
        render: Render,
        shards: list[int],
        count: int,
        options: ExportOptions,
        revision: int,
    ) -> None:
        super().__init__()
        self._client = client
        self._render = render
        self._shards = shards
        self._count = count
        self._options = options
        self._revision = revision

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        state = self._state_dict or self._fresh_state()
        while state["shard_idx"] < len(self._shards):
            shard = self._shards[state["shard_idx"]]
            export = self._client.export(shard_index=shard, shard_count=self._count, **self._options)
            export.pin(self._revision)
            rows = Rows(export, self._render)
            if state["rows"] is not None:
                rows.load_state_dict(state["rows"])
            try:
                for row in rows:
                    state["rows"] = rows.state_dict()
                    yield f"{shard}_{export.consumed}", row
            finally:
                rows.close()
            state["shard_idx"] += 1
            state["rows"] = None

    @property
    def num_shards(self) -> int:
        return len(self._shards)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> _ExportIterable:
        chosen = self.split_shard_indices_by_worker(num_shards, index, contiguous=contiguous)
        return self._with([self._shards[position] for position in chosen])

    def shuffle_data_sources(self, generator: np.random.Generator) -> _ExportIterable:
        return self._with([self._shards[position] for position in generator.permutation(len(self._shards))])

    def reshard_data_sources(self) -> _ExportIterable:
        return self

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict = self._fresh_state()
        return self._state_dict

    def _fresh_state(self) -> dict[str, Any]:
        return {"shard_idx": 0, "rows": None, "type": type(self).__name__}

    def _with(self, shards: list[int]) -> _ExportIterable:
        return _ExportIterable(self._client, self._render, shards, self._count, self._options, self._revision)
