"""What exports choose by: a column for each property of the examples, in memory, and their order.

Rows are only appended, in the order of approval for each key. A row stays once its example is removed, and is seen by
exports at older revisions. The caller holds a lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from avocet_grpc.core.export import split_bound, split_hashes
from avocet_grpc.core.model import CandidateFilter, ExportSelection
from avocet_grpc.core.ports.examples import Approved
from avocet_grpc.store.examples.layout import MEMORY, ROW, Array
from avocet_grpc.store.examples.numeric import np

FACET = ("task_type", "model_name", "source", "benchmark_run_id", "failure_category", "label")
Facet = tuple[str | None, ...]
"""The values of FACET."""
NO_PROMPT = bytes(32)


class Table:
    """The rows by number from 0, and the revision that they are complete for."""

    def __init__(self) -> None:
        self.count = 0
        self.facets: list[Facet] = []
        self._codes: dict[Facet, int] = {}
        self._columns: dict[str, Array] = {name: np.zeros(0, MEMORY[name]) for name in MEMORY.names or ()}
        self._order: Array | None = None
        self._last_key = 0

    def __getitem__(self, column: str) -> Array:
        """Return a column of all rows; it may be written to."""
        return self._columns[column][: self.count]

    def add(self, found: Sequence[Approved]) -> None:
        """Append examples as the ledger gives them."""
        rows, given = np.zeros(len(found), ROW), dict(zip(Approved._fields, zip(*found, strict=True), strict=True))
        for name in ("number", "key", "approved_revision", "removed_revision", "shard_hash", "size"):
            rows[name] = given[name]
        rows["quality"] = [np.nan if score is None else score for score in given["quality_score"]]
        rows["facet"] = [self._code(facet) for facet in zip(*[given[name] for name in FACET], strict=True)]
        digests = b"".join([NO_PROMPT if digest is None else digest for digest in given["prompt_digest"]])
        rows["prompt"] = np.frombuffer(digests, "<u8").reshape(-1, 4)
        ids = [id.encode("utf-8", "surrogatepass") for id in given["id"]]
        rows["id_size"] = [len(id) + 1 for id in ids]
        rows["split"] = hashed(0, ids)
        self.append(rows)

    def append(self, rows: Array) -> None:
        """Append rows as the files have them, whose facets are known."""
        start, self.count = self.count, self.count + len(rows)
        for name, column in self._columns.items():
            if self.count > len(column):
                # Some more, so that single rows do not copy all of them each time.
                self._columns[name] = column = np.concatenate(
                    [column, np.zeros(self.count + self.count // 8 + 64 - len(column), MEMORY[name])]
                )
            column[start : self.count] = rows[name]
        self._put_in_order(start, rows["key"])

    def mark(self) -> tuple[int, Array | None, int]:
        """Return what `go_back` needs to take back what is appended from now on."""
        return self.count, self._order, self._last_key

    def go_back(self, mark: tuple[int, Array | None, int]) -> None:
        """Be as at the mark, but for removals."""
        self.count, self._order, self._last_key = mark

    def _put_in_order(self, start: int, keys: Array) -> None:
        if not len(keys):
            return
        ascends = keys[0] >= self._last_key and bool((keys[1:] >= keys[:-1]).all())
        if self._order is None and not ascends:
            self._order = np.arange(start, dtype=np.int32)
        if self._order is not None:
            new = np.argsort(keys, kind="stable")
            places = np.searchsorted(self["key"][self._order], keys[new], side="right")
            self._order = np.insert(self._order, places, (new + start).astype(np.int32))
        self._last_key = max(self._last_key, int(keys.max()))

    def remove(self, keys: Sequence[int], approved: Sequence[int], removed: Sequence[int]) -> list[tuple[int, int]]:
        """Note removals by key and approval. Returns the rows, each with the revision; those unknown are left out."""
        order = self._order if self._order is not None else slice(None)
        sorted_keys, sorted_approvals = self["key"][order], self["approved_revision"][order]
        found = list[tuple[int, int]]()
        starts = np.searchsorted(sorted_keys, np.array(keys, np.int64)).tolist()
        for at, key, approval, revision in zip(starts, keys, approved, removed, strict=True):
            while at < self.count and sorted_keys[at] == key and sorted_approvals[at] != approval:
                at += 1
            if at < self.count and sorted_keys[at] == key:
                row = at if self._order is None else int(self._order[at])
                if self["removed_revision"][row] != revision:
                    self["removed_revision"][row] = revision
                    found.append((row, revision))
        return found

    def add_facets(self, facets: Iterable[Facet]) -> None:
        """Know these values by the next codes."""
        for facet in facets:
            self._code(facet)

    def _code(self, facet: Facet) -> int:
        code = self._codes.get(facet)
        if code is None:
            code = self._codes[facet] = len(self.facets)
            self.facets.append(facet)
        return code

    def chosen(self, selection: ExportSelection, hashes: Array | None) -> Array:
        """Return the rows of a selection in the order of export; `hashes` are those of its split."""
        shown = (self["approved_revision"] <= selection.revision) & (self["removed_revision"] > selection.revision)
        self._pass(selection.filter, shown)
        if selection.unique_prompts:
            self._leave_newest(shown)
        if selection.since_revision:
            shown &= self["approved_revision"] > selection.since_revision
        if selection.shard_count > 1:
            shown &= self["shard_hash"] % selection.shard_count == selection.shard_index
        if selection.split is not None and hashes is not None:
            shown &= (hashes < np.uint64(split_bound(selection.split))) == selection.split.validation
        if self._order is None:
            return np.flatnonzero(shown).astype(np.int32)
        chosen: Array = self._order[shown[self._order]]
        return chosen

    def _pass(self, filter: CandidateFilter, shown: Array) -> None:
        """Leave out what the filter leaves out."""
        lists = (
            filter.task_types, filter.model_names, filter.sources, filter.benchmark_run_ids,
            filter.failure_categories, filter.labels,
        )  # fmt: skip
        for at, words in enumerate(map(frozenset, lists)):
            if words:
                shown &= np.array([facet[at] in words for facet in self.facets], bool)[self["facet"]]
        if filter.min_quality_score is not None:
            shown &= self["quality"] >= filter.min_quality_score
        if filter.max_quality_score is not None:
            shown &= self["quality"] <= filter.max_quality_score
        if filter.prompt_digests:
            wanted = {bytes.fromhex(digest) for digest in filter.prompt_digests if len(digest) == 2 * len(NO_PROMPT)}
            firsts = np.frombuffer(b"".join(wanted), "<u8")[::4]
            some = np.flatnonzero(shown & np.isin(self["prompt"][:, 0], firsts))
            shown[:] = False
            shown[[row for row in some.tolist() if self["prompt"][row].tobytes() in wanted]] = True

    def _leave_newest(self, shown: Array) -> None:
        """Of the examples of each prompt leave the one approved last."""
        prompts = self["prompt"]
        rows = np.flatnonzero(shown & prompts.any(axis=1))
        first, second = prompts[rows, 0], prompts[rows, 1]
        rows = rows[np.lexsort((self["key"][rows], self["approved_revision"][rows], second, first))]
        first, second = prompts[rows, 0], prompts[rows, 1]
        has_later = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
        shown[rows[:-1][has_later]] = False


def hashed(seed: int, texts: Iterable[bytes]) -> Array:
    """Return `core.export.split_hashes` as numbers."""
    return np.frombuffer(split_hashes(seed, texts), ">u8").astype("<u8")


def facet_line(facet: Facet) -> bytes:
    """Return the values as a line of JSON."""
    return json.dumps(facet).encode() + b"\n"


def facets_of(lines: bytes) -> list[Facet]:
    """Return the values of such lines. Raises ValueError."""
    return [tuple(json.loads(line)) for line in lines.splitlines()]
