"""What an export sends: splits, shards, filters, batches, and an older revision."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from avocet_grpc.core import export
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import (
    CandidateFilter,
    ExportBatch,
    ExportSelection,
    File,
    Split,
    SplitBy,
)
from avocet_grpc.core.ports.ledger import Ledger
from tests.exports import batch as batch_of
from tests.exports import exports, total
from tests.ledger_suite.support import (
    Fresh,
    candidate_line,
    correct,
    exported,
    import_candidates,
    newest,
    undo,
)


def in_batches(ledger: Ledger, selection: ExportSelection, limit: int, most: int) -> list[ExportBatch]:
    """All batches of the selection."""
    found, after = list[ExportBatch](), 0
    while batch := ledger.read(lambda r, a=after: exports(r).export_batch(selection, a, limit, most)):
        found.append(batch)
        after = batch.last_key
    return found


class ExportRules(Fresh):
    """What an export sends: splits, shards, filters, batches, and an older revision."""

    @pytest.mark.parametrize("by, key", [(SplitBy.PROMPT, "prompt_messages"), (SplitBy.TASK, "task_id")])
    def test_a_split_keeps_the_same_question_on_one_side(self, ledger: Ledger, by: SplitBy, key: str) -> None:
        values = [f"{n % 15}" if n % 4 else None for n in range(60)]
        lines = [candidate_line(n, status="approved", corrected_response="x", **{key: v}) for n, v in enumerate(values)]

        def load(tx: Any) -> None:
            for line in lines:
                tx.put(File.APPROVED, line)

        ledger.write(load).result()
        sides = [exported(ledger, split=Split(side, 0.5, by=by)) for side in (False, True)]
        assert sorted(sum(sides, [])) == sorted(exported(ledger))
        asked = [{values[int(id[1:])] for id in side} for side in sides]
        assert asked[0] & asked[1] == {None}, "what has no prompt or task goes by its id"
        by_id = [exported(ledger, split=Split(side, 0.5)) for side in (False, True)]
        assert sides != by_id
        for side in (0, 1):
            alone = [id for id in sides[side] if values[int(id[1:])] is None]
            assert alone == [id for id in by_id[side] if values[int(id[1:])] is None]

    @pytest.mark.parametrize("asked", [{}, {"split": Split(False, 0.3)}, {"shard_count": 2}])
    @pytest.mark.parametrize("limit, most", [(1, 10_000), (7, 10_000), (100, 300), (100, 1), (100, 100_000)])
    def test_a_batch_is_as_full_as_it_may_be(
        self, ledger: Ledger, asked: dict[str, Any], limit: int, most: int
    ) -> None:
        import_candidates(ledger, 40)
        for number in range(40):
            correct(ledger, f"c{number}", "y" * (number % 9) ** 2)
        selection = ExportSelection(newest(ledger), **asked)
        alone, batches = (in_batches(ledger, selection, *sizes) for sizes in ((1, 1), (limit, most)))
        assert b"".join(batch.encoded for batch in batches) == b"".join(one.encoded for one in alone)
        assert b"".join(batch.ids for batch in batches) == b"".join(one.ids for one in alone)
        assert all(batch.count <= limit and (batch.count == 1 or len(batch.encoded) <= most) for batch in batches)
        ends, size = {one.last_key for one in batches}, 0
        for one, after in itertools.pairwise(alone):
            size += len(one.encoded)
            if one.last_key in ends:
                count = next(batch.count for batch in batches if batch.last_key == one.last_key)
                assert count == limit or size + len(after.encoded) > most
                size = 0

    def test_what_an_export_chooses_is_what_choosing_by_hand_gives(self, ledger: Ledger) -> None:
        rng = random.Random(11)
        approved: dict[str, tuple[int, Any]] = {}
        past: dict[int, dict[str, tuple[int, Any]]] = {}
        for step in range(120):
            number = rng.randrange(40)
            id = f"c{number}"
            if id in approved and rng.random() < 0.3:
                ledger.write(lambda tx, id=id: tx.remove(File.APPROVED, id)).result()
                del approved[id]
            else:
                prompt = rng.choice([None, *(f"{n}?" for n in range(6))])
                fields = {"prompt_messages": prompt, "corrected_response": f"{step}"}
                line = candidate_line(number, status="approved", **fields)
                ledger.write(lambda tx, line=line: tx.put(File.APPROVED, line)).result()
                approved[id] = (newest(ledger), json.loads(line.raw))
            past[newest(ledger)] = dict(approved)
        middle = sorted(past)[60]
        split = Split(True, 0.5, by=SplitBy.PROMPT)
        for revision, model, since, shards, side in itertools.product(
            (middle, newest(ledger)), ("", "m1"), (0, sorted(past)[30]), (1, 2), (None, split)
        ):
            seen = {id: at for id, at in past[revision].items() if model in ("", at[1]["model_name"])}
            last: dict[str, str] = {}
            for id in sorted(seen, key=lambda id: seen[id][0]):
                last[seen[id][1]["prompt_messages"] or id] = id
            wanted = {id for id in last.values() if seen[id][0] > since}
            wanted = {id for id in wanted if export.shard_hash(id) % shards == 0}
            if side:
                digests = {id: prompt_digest(seen[id][1]) for id in wanted}
                wanted = {id for id in wanted if export.in_split(side, id, digests[id], None)}
            found = exported(
                ledger, filter=CandidateFilter(model_names=(model,) if model else ()), at_revision=revision,
                since_revision=since, shard_count=shards, split=side, unique_prompts=True,
            )  # fmt: skip
            assert len(found) == len(set(found))
            assert set(found) == wanted

    def test_an_export_is_the_same_at_its_revision_whatever_comes_later(self, ledger: Ledger) -> None:
        import_candidates(ledger, 10)
        for n in range(5):
            correct(ledger, f"c{n}")
        revision = newest(ledger)
        undo(ledger, "c1")
        correct(ledger, "c7")
        assert exported(ledger, at_revision=revision) == ["c0", "c1", "c2", "c3", "c4"]
        assert exported(ledger) == ["c0", "c2", "c3", "c4", "c7"]
        assert exported(ledger, since_revision=revision) == ["c7"]
        correct(ledger, "c1")
        assert exported(ledger) == ["c0", "c2", "c3", "c4", "c7", "c1"]
        assert exported(ledger, at_revision=revision) == ["c0", "c1", "c2", "c3", "c4"]

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_shards_are_disjoint_and_complete(self, ledger: Ledger, count: int) -> None:
        import_candidates(ledger, 30)
        for n in range(30):
            correct(ledger, f"c{n}")
        parts = [exported(ledger, shard_index=i, shard_count=count) for i in range(count)]
        assert sorted(sum(parts, [])) == sorted(exported(ledger))

    def test_a_split_chooses_by_the_id_whatever_ids_hold(self, ledger: Ledger) -> None:
        ids = [f"{n}\n{n}" if 20 < n < 40 and n % 3 == 0 else f"\u00e9{n}" for n in range(60)]
        lines = [candidate_line(0, id=id, status="approved", corrected_response="x") for id in ids]
        ledger.write(lambda tx: [tx.put(File.APPROVED, line) for line in lines]).result()
        for validation, limit in itertools.product((True, False), (1, 10, 1_000)):
            split = Split(validation, 0.3, seed=5)
            wanted = [id for id in ids if export.in_split(split, id, None, None)]
            selection = ExportSelection(newest(ledger), split=split)
            sent = in_batches(ledger, selection, limit, 1 << 30)
            assert {batch.count for batch in sent[:-1]} <= {limit}
            assert b"".join(batch.ids for batch in sent) == "".join(f"{id}\n" for id in wanted).encode()
            assert total(ledger, selection, 0) == len(wanted) > 0

    def test_ids_with_control_characters_are_sent_as_they_are(self, ledger: Ledger) -> None:
        odd = ["a\x01", "a\x01\x01b", "a\x01\x02", "a\x02", "\x01", "é\x01é", "é"]
        lines = [candidate_line(0, id=id, status="approved", corrected_response=id) for id in odd]

        def load(tx: Any) -> None:
            for line in lines:
                tx.put(File.APPROVED, line)

        ledger.write(load).result()
        whole = in_batches(ledger, ExportSelection(newest(ledger)), 3, 1 << 30)
        assert b"".join(batch.ids for batch in whole) == "".join(f"{id}\n" for id in odd).encode()
        sides = [exported(ledger, split=Split(side, 0.5)) for side in (False, True)]
        assert sorted(sum(sides, [])) == sorted(odd)
        assert sides == [
            [id for id in odd if export.in_split(Split(side, 0.5), id, None, None)] for side in (False, True)
        ]

    def test_a_batch_ends_at_its_limits_and_leaves_nothing_out(self, ledger: Ledger) -> None:
        import_candidates(ledger, 20)
        for n in range(20):
            correct(ledger, f"c{n}", "x" * n)
        selection = ExportSelection(newest(ledger))
        shard = ExportSelection(selection.revision, shard_count=2, shard_index=1)
        split = ExportSelection(selection.revision, split=Split(False, 0.5))
        for asked, limit, most in itertools.product((selection, shard, split), (1, 7, 100), (1, 60, 10_000)):
            whole = batch_of(ledger, asked, 0, 1000, 1 << 30)
            after, ids, encoded = 0, b"", b""
            while batch := batch_of(ledger, asked, after, limit, most):
                assert batch.count == batch.ids.count(b"\n") <= limit
                assert len(batch.encoded) <= most or batch.count == 1
                ids, encoded, after = ids + batch.ids, encoded + batch.encoded, batch.last_key
            assert (ids, encoded) == (whole.ids, whole.encoded)
            assert total(ledger, asked, 0) == whole.count > 0
