"""An export as rendered rows, with a state at the very row: what the data set classes are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from avocet_client.client import CorrectionsClient
from avocet_client.export_options import ExportOptions
from avocet_client.export_state import ExportStateDict
from avocet_client.exports import Export
from avocet_client.render import Render, Row, rows
from avocet_client.saved_state import check_state


class RowsState(TypedDict):
    """Where the rows stand: the export's state, and the last example's rows that are still to come."""

    export: ExportStateDict
    rows: list[Row]


class Rows(Iterator[Row]):
    """The rows of an export's examples, in order."""

    def __init__(self, export: Export, render: Render) -> None:
        self._export = export
        self._render = render
        self._waiting: list[Row] = []

    def __next__(self) -> Row:
        while not self._waiting:
            self._waiting = rows(self._render, next(self._export))
        return self._waiting.pop(0)

    def state_dict(self) -> RowsState:
        """Return where the rows stand, in plain values."""
        return RowsState(export=self._export.state_dict(), rows=list(self._waiting))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` stands.

        Raises ValueError if it is of another filter, shard, split or revision, or no state of rows.
        """
        check_state(state, RowsState)
        self._export.load_state_dict(state["export"])
        self._waiting = list(state["rows"])

    def close(self) -> None:
        """Let the stream go."""
        self._export.close()


def pinned(client: CorrectionsClient, options: ExportOptions) -> tuple[ExportOptions, int]:
    """Return the options of one revision, and which it is: the present one, if they state neither it nor a snapshot.

    Workers that open their streams one after another then read the same examples. Each stream of a snapshot must be
    told the revision (`Export.pin`): the name may be another snapshot's by then.
    """
    if revision := options.get("at_revision"):
        return options, revision
    probe = client.export(batch_size=1, **options)
    next(probe, None)
    probe.close()
    # The service refuses a snapshot and a revision together.
    return options if options.get("snapshot") else {**options, "at_revision": probe.revision}, probe.revision
