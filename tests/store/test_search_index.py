"""The index of texts: with it a search finds exactly what it finds without, whatever happened to either."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import listing
from avocet_grpc.core.listing import ListQuery, list_token, scan
from avocet_grpc.core.model import CandidateFilter, File, Source
from avocet_grpc.core.ports.mirror import Cursor, FeedExpired
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.listing import Listing
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.search_index import SearchFollower, SearchIndex
from tests.ledger_suite import candidate_line, correct, encode, undo

WORDS = ("Heron", "lark", "ibis", "Ünïcode", "a\0b", "x?y", "\ud800lone", "100", 'quo"te', "(paren) AND")
TEXTS = ("heron", "HERON LARK", "lark ibis", "nïc", "ünï", "x?y", '"te', "(par", ") AND", "100", "ibis" * 40, "n l")


class Searched:
    """A ledger with its index."""

    def __init__(self, directory: Path) -> None:
        self.directory = DataDirectory(directory)
        self.ledger = SqliteLedger(self.directory, encode)
        self.follower = SearchFollower(self.directory.search, self.ledger.mirror())
        self.index = SearchIndex(self.directory.search)
        self.rng = random.Random(3)

    def put(self, numbers: range) -> None:
        """Put records of some words, in different keys and forms."""
        for n in numbers:
            text = " ".join(self.rng.choices(WORDS, k=4))
            more: dict[str, Any] = self.rng.choice(
                [{"prompt_messages": text}, {"model_response": text}, {"corrected_response": text}, {"label": text}]
            )
            line = candidate_line(n, task_type=f"t{n % 2}", **more)
            self.ledger.write(lambda tx, line=line: tx.put(File.CANDIDATES, line, Source.EXTERNAL)).result()

    def follow(self) -> None:
        """Let the index come level."""
        while self.follower.step():
            pass

    def found(self, query: ListQuery, index: SearchIndex | None) -> list[str]:
        """The ids of all pages, of three candidates each."""
        ids, token = list[str](), ""
        while True:
            asked = ListQuery(query.statuses, query.filter, query.text, query.order, 3, token)
            page, token = self.ledger.read(lambda r, asked=asked: _page(r, asked, index))
            ids += page
            if not token:
                return ids

    def agrees(self, *, narrowed: bool = True) -> None:
        """Whether both ways find the same; `narrowed`: and the index is level."""
        assert (self.index.level() is not None) == narrowed
        for text in TEXTS:
            for query in (
                ListQuery(text=text),
                ListQuery(frozenset({"approved", None}), CandidateFilter(task_types=("t1",)), text),
            ):
                assert self.found(query, self.index) == self.found(query, None), text


def _page(reader: Any, query: ListQuery, index: SearchIndex | None) -> tuple[list[str], str]:
    found, last = list[str](), None
    for place, candidate in scan(reader, query, index).places:
        last = place
        found += [json.loads(candidate.raw)["id"]] if candidate else []
        if len(found) == 3:
            break
    else:
        last = None
    return found, list_token(query, last) if last else ""


@pytest.fixture
def searched(tmp_path: Path) -> Iterator[Searched]:
    searched = Searched(tmp_path)
    searched.put(range(60))
    yield searched
    searched.follower.close()
    searched.ledger.close()


def test_both_ways_find_the_same_while_the_store_changes(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "CHUNK", 5)
    searched.agrees(narrowed=False)
    searched.follow()
    searched.agrees()
    assert searched.found(ListQuery(text="heron"), None)
    # What the index does not know yet is found all the same.
    searched.put(range(50, 80))
    for n in range(0, 40, 3):
        correct(searched.ledger, f"c{n}", "a heron and a lark")
    for n in range(0, 40, 6):
        undo(searched.ledger, f"c{n}")
    searched.ledger.write(lambda tx: tx.remove(File.CANDIDATES, "c7")).result()
    searched.agrees()
    searched.follow()
    searched.agrees()


def test_only_what_the_index_names_is_read(searched: Searched) -> None:
    searched.put(range(100, 101))
    line = candidate_line(200, model_response="a sentence of its own")
    searched.ledger.write(lambda tx: tx.put(File.CANDIDATES, line)).result()
    searched.follow()
    query = ListQuery(text="sentence of its")
    looked = searched.ledger.read(lambda r: len(list(scan(r, query, searched.index).places)))
    assert looked == 1
    assert searched.ledger.read(lambda r: len(list(scan(r, query).places))) > 60


def test_more_changes_than_the_index_can_lack_are_searched_without_it(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched.follow()
    monkeypatch.setattr(listing, "MOST_RECENT", 5)
    searched.put(range(300, 320))
    searched.agrees()


def test_a_build_that_was_broken_off_goes_on_where_it_was(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avocet_grpc.store.sqlite.search_index.STEP", 7)
    for _ in range(3):
        assert searched.follower.step()
    searched.follower.close()
    searched.put(range(55, 70))
    searched.agrees(narrowed=False)
    searched.follower = SearchFollower(searched.directory.search, searched.ledger.mirror())
    searched.follow()
    searched.agrees()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_index_is_no_obstacle_and_one_of_another_ledger_is_made_again(
    searched: Searched, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    searched.directory.search.write_bytes(content)
    searched.agrees(narrowed=False)
    other = Searched(tmp_path_factory.mktemp("other"))
    other.put(range(5))
    other.follow()
    other.follower.close()
    searched.directory.search.write_bytes(other.directory.search.read_bytes())
    other.ledger.close()
    searched.follow()
    searched.agrees()


def test_an_index_that_was_behind_what_is_kept_is_made_again(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched.follow()
    searched.ledger.write(lambda tx: tx.remove(File.CANDIDATES, "c9")).result()
    changes = SqlMirrorReader.changes

    def expired(self: SqlMirrorReader, file: File, after: Cursor, limit: int) -> Any:
        monkeypatch.setattr(SqlMirrorReader, "changes", changes)
        raise FeedExpired("pruned")

    monkeypatch.setattr(SqlMirrorReader, "changes", expired)
    assert searched.follower.step()
    searched.agrees(narrowed=False)
    searched.follow()
    searched.agrees()


def test_the_lines_of_few_candidates_are_read_at_once(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    searched.follow()
    asked, among = list[int](), Listing.among

    def noted(self: Listing, keys: Any, statuses: Any, filter: Any) -> Any:
        asked.append(len(keys))
        return among(self, keys, statuses, filter)

    monkeypatch.setattr(Listing, "among", noted)
    searched.agrees()
    assert asked and max(asked) <= 8
