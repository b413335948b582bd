"""An export as a `torch.utils.data.IterableDataset`; needs `avocet-client[torch]`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch.distributed
import torch.utils.data

from avocet_client.client import CorrectionsClient
from avocet_client.render import Render, Row, to_sft
from avocet_client.rows import Rows, pinned
from avocet_client.words import CandidateFilter, SplitName


class ExportDataset(torch.utils.data.IterableDataset[Row]):  # type: ignore[misc, unused-ignore]
    """The export's rows, as `render` makes them, read from the service while they are iterated over.

    Each rank and each worker of its DataLoader reads a shard of the server's own: disjoint, together complete, and sent
    once. Rank and number of ranks are those of `torch.distributed` where it is initialised, unless stated. The data set
    is pinned to one revision, that of now where `at_revision` is 0: ranks have to state the same one.

    `state_dict()` and `load_state_dict()` continue at the very row, here without workers; with workers,
    torchdata's `StatefulDataLoader` calls them in each.
    """

    def __init__(
        self,
        client: CorrectionsClient,
        *,
        render: Render = to_sft,
        rank: int | None = None,
        world_size: int | None = None,
        filter: CandidateFilter | None = None,
        split: SplitName | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
        at_revision: int = 0,
        since_revision: int = 0,
    ) -> None:
        self._client = client
        self._render = render
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self._rank = rank if rank is not None else torch.distributed.get_rank() if distributed else 0
        ranks = torch.distributed.get_world_size() if distributed else 1
        self._world_size = world_size if world_size is not None else ranks
        arguments = {
            "filter": filter,
            "split": split,
            "validation_fraction": validation_fraction,
            "seed": seed,
            "at_revision": at_revision,
            "since_revision": since_revision,
        }
        self._arguments = pinned(client, arguments)
        self._rows: Rows | None = None
        self._start: Mapping[str, Any] | None = None

    @property
    def revision(self) -> int:
        """The revision that the data set is pinned to."""
        revision: int = self._arguments["at_revision"]
        return revision

    def __iter__(self) -> Iterator[Row]:
        worker = torch.utils.data.get_worker_info()
        index, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        part, parts = self._rank * workers + index, self._world_size * workers
        export = self._client.export(shard_index=part, shard_count=parts, **self._arguments)
        self._rows = Rows(export, self._render)
        if self._start:
            self._rows.load_state_dict(self._start)
            self._start = None
        return self._rows

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration stands in this process."""
        return dict(self._rows.state_dict() if self._rows else self._start or {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration begin where `state` stands."""
        self._start = state
