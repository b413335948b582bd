"""A ledger that changes at random, the copy of its examples, and what its tables say that an export sends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import CandidateFilter, ExportSelection, File, Split, SplitBy
from avocet_grpc.core.ports.pruning import Floors
from avocet_grpc.core.ports.snapshots import Snapshot
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.examples.place import BODIES
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.exports_by_sql import ExportsBySql
from tests.ledger_suite import candidate_line, encode, newest

IDS = [*(f"c{n}" for n in range(30)), "\u00e9t\u00e9", "two\nlines", "\U0001f426", "x" * 500]
PROMPTS = [None, "a?", "b?", "\u65e5\u672c?"]


def longer(record: dict[str, Any], revision: int) -> bytes:
    """An encoding whose length goes by the record."""
    text: str = record["corrected_response"]
    return encode(record, revision) + text.encode()


class Store:
    """A ledger and its copy, changed at random; what an export must give is what the tables give."""

    def __init__(self, directory: Path, chance: random.Random, plain: Any = None) -> None:
        """`plain` is a ledger of another engine, for nobody else."""
        self.directory, self.chance = directory, chance
        self.plain = SqliteLedger(DataDirectory(directory), longer) if plain is None else plain
        self.open()
        self.approved: set[str] = set()
        self.revisions = [newest(self.plain)]
        self.snapshots: list[int] = []

    def open(self) -> None:
        examples = DataDirectory(self.directory).examples
        examples.parent.mkdir(exist_ok=True)
        self.copy = ExportLedger(self.plain, examples)

    def close_copy(self) -> None:
        self.copy.stop()

    def change(self) -> None:
        """One commit, or several in one group."""
        works = [self._work() for _ in range(self.chance.choice((1, 1, 1, 4)))]
        self.plain.write_all(works).result()
        self.revisions.append(newest(self.plain))

    def _work(self) -> Any:
        chance = self.chance
        id = chance.choice(IDS)
        if id in self.approved and chance.random() < 0.35:
            self.approved.discard(id)
            return lambda tx: tx.remove(File.APPROVED, id)
        self.approved.add(id)
        size = 4_000_000 if chance.random() < 0.01 else chance.randrange(60)
        line = candidate_line(
            0,
            id=id,
            status="approved",
            model_name=f"m{chance.randrange(3)}",
            label=chance.choice(("good", "", None)),
            task_id=chance.choice(("t1", "t2", "", None)),
            quality_score=chance.choice((None, 0.25, 0.5, 1.0)),
            prompt_messages=chance.choice(PROMPTS),
            corrected_response="y" * (size + 1),
        )
        new_key = chance.random() < 0.3
        if id in self.approved and not new_key:
            return lambda tx: tx.put(File.APPROVED, line)
        return lambda tx: tx.put(File.APPROVED, line, new_key=True)

    def snapshot(self) -> None:
        revision = newest(self.plain)
        name = f"s{revision}"
        self.plain.write(lambda tx: tx.snapshots.add(Snapshot(name, revision, "", "", "", 0))).result()
        self.snapshots.append(revision)

    def prune(self) -> None:
        """Forget what is older than some revision, but for what snapshots keep."""
        self.revisions = self.revisions[-12:]
        before = self.revisions[0]

        def work(tx: Any) -> None:
            tx.pruning.raise_floors(Floors(0, before, before, before))
            while tx.pruning.prune(100):
                pass

        self.plain.write(work).result()

    def selection(self) -> ExportSelection:
        """Any selection of a revision that is kept."""
        chance = self.chance
        revision = chance.choice([self.revisions[-1], self.revisions[-1], *self.revisions, *self.snapshots])
        asked = ExportSelection(revision)
        if chance.random() < 0.4:
            digests = [prompt_digest({"prompt_messages": prompt}) for prompt in ("a?", "b?", "none?")]
            asked = replace(
                asked,
                filter=chance.choice(
                    [
                        CandidateFilter(model_names=("m1", "m2")),
                        CandidateFilter(labels=("good",), task_types=("qa",)),
                        CandidateFilter(min_quality_score=0.25, max_quality_score=0.75),
                        CandidateFilter(min_quality_score=0.5, model_names=("m0",)),
                        CandidateFilter(prompt_digests=tuple(each.hex() for each in digests[1:] if each)),
                        CandidateFilter(sources=("none",)),
                    ]
                ),
            )
        if chance.random() < 0.3:
            asked = replace(asked, since_revision=chance.choice(self.revisions))
        if chance.random() < 0.3:
            count = chance.randrange(1, 5)
            asked = replace(asked, shard_count=count, shard_index=chance.randrange(count))
        if chance.random() < 0.4:
            by, seed = chance.choice([*SplitBy]), chance.choice((0, 0, 7, 8))
            asked = replace(asked, split=Split(chance.random() < 0.5, chance.choice((0.1, 0.5)), seed, by))
        return replace(asked, unique_prompts=chance.random() < 0.2)

    @property
    def files(self) -> Path:
        """Where the files of the copy lie."""
        return DataDirectory(self.directory).examples / "0"

    def again(self) -> None:
        """Stop cleanly and start."""
        self.close_copy()
        self.open()

    def keep_alone(self) -> None:
        """From now on the test keeps the copy, and no thread does."""
        self.copy._stop.set()
        self.copy._committed.set()
        self.copy._thread.join()

    def is_level(self) -> bool:
        """Whether the files have everything, and exports are sent from them."""
        self.copy.bring_level()
        return self.copy.store.is_level() and (self.files / BODIES).stat().st_size > 0

    def check_some(self) -> None:
        """Some exports of each kind are right."""
        revision = newest(self.plain)
        for asked in (
            ExportSelection(revision),
            ExportSelection(revision, CandidateFilter(model_names=("m1",))),
            ExportSelection(revision, split=Split(False, 0.5)),
            ExportSelection(revision, split=Split(True, 0.5, seed=9)),
            self.selection(),
        ):
            self.check(asked)

    def check(self, asked: ExportSelection) -> None:
        """The copy gives what the tables give: from the start and from the middle, whatever the batches are."""
        whole = everything(Judge(self.plain), asked, 0, 1_000, 1 << 30)
        limit, most = self.chance.choice((1, 7, 1_000)), self.chance.choice((1, 100, 1 << 30))
        assert everything(self.copy, asked, 0, limit, most) == whole, asked
        middle = self.chance.choice([key for key, _, _ in whole] or [5])
        assert everything(self.copy, asked, middle, limit, most) == [each for each in whole if each[0] > middle], asked
        for after in (0, middle):
            total = self.copy.read(lambda r, a=after: r.export_total(asked, a))
            assert total == sum(key > after for key, _, _ in whole), (after, asked)


class Judge:
    """What the ledger's own tables give."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def read_batches(self, work: Any) -> Any:
        with self._ledger.session() as session:
            return work(ExportsBySql(session))


def everything(ledger: Any, asked: ExportSelection, after: int, limit: int, most: int) -> Any:
    """What an export sends after a key: its keys, where they are known, ids and encodings."""
    batches = list(in_batches(ledger, asked, after, limit, most))
    ids, encoded = b"".join(each.ids for each in batches), b"".join(each.encoded for each in batches)
    singles = list(in_batches(ledger, asked, after, 1, 1))
    assert (ids, encoded) == (b"".join(each.ids for each in singles), b"".join(each.encoded for each in singles))
    assert all(each.count <= limit and (each.count == 1 or len(each.encoded) <= most) for each in batches)
    assert sum(each.count for each in batches) == len(singles)
    return [(each.last_key, each.ids, each.encoded) for each in singles]


def in_batches(ledger: Any, asked: ExportSelection, after: int, limit: int, most: int) -> Iterator[Any]:
    while batch := ledger.read_batches(lambda r, a=after: r.export_batch(asked, a, limit, most)):
        yield batch
        after = batch.last_key
