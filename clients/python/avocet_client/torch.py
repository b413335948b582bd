"""An export as a `torch.utils.data.IterableDataset`; needs `avocet-client[torch]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

import torch.distributed
import torch.utils.data

from avocet_client.client import CorrectionsClient
from avocet_client.export_options import ExportOptions
from avocet_client.render import Render, Row, to_sft
from avocet_client.rows import Rows, pinned


class ExportDataset(torch.utils.data.IterableDataset[Row]):  # type: ignore[misc, unused-ignore]
    """The export's rows, as `render` makes them. It reads from the service while you iterate.

    `options` are those of `ExportOptions`. The data set is pinned to one revision: the present one, if neither
    `at_revision` nor `snapshot` is given. All ranks must give the same one.

    Each worker of each rank's DataLoader reads a shard of its own. The shards are disjoint and together complete.
    `rank` and `world_size` are those of `torch.distributed` if it is initialised, unless you give them.

    `state_dict()` and `load_state_dict()` continue at the very row, without workers. With workers, torchdata's
    `StatefulDataLoader` calls them in each worker.
    """

    def __init__(
        self,
        client: CorrectionsClient,
        *,
        render: Render = to_sft,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Unpack[ExportOptions],
    ) -> None:
        self._client = client
        self._render = render
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._rank = rank if rank is not None else torch.distributed.get_rank() if distributed else 0
        ranks = torch.distributed.get_world_size() if distributed else 1
        self._world_size = world_size if world_size is not None else ranks
        self._options, self._revision = pinned(client, options)
        self._rows: Rows | None = None
        self._start: Mapping[str, Any] | None = None

    @property
    def revision(self) -> int:
        """The revision that the data set is pinned to."""
        return self._revision

    def __iter__(self) -> Iterator[Row]:
        worker = torch.utils.data.get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        part, parts = self._rank * workers + index, self._world_size * workers
        export = self._client.export(shard_index=part, shard_count=parts, **self._options)
        export.pin(self._revision)
        self._rows = Rows(export, self._render)
        if self._start:
            self._rows.load_state_dict(self._start)
            self._start = None
        return self._rows

    def state_dict(self) -> dict[str, Any]:
        """Return where the iteration stands in this process."""
        if self._start is not None:
            return dict(self._start)
        return dict(self._rows.state_dict()) if self._rows else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration begin where `state` stands."""
        self._start = state
