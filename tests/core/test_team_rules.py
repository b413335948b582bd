"""Rules of claims, history and watches that need no ledger."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core import claims
from avocet_grpc.core.errors import Claimed, ClaimLost
from avocet_grpc.core.history import END, names_of
from avocet_grpc.core.model import Action, Decision, File
from avocet_grpc.core.ports.claims import Claim
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.record import difference
from avocet_grpc.core.watch import Stretch, complete, cut, level_at


class OneClaim:
    """The claims of a store in which Ann holds candidate 7 with token `t`."""

    held = Claim("lease-a", 7, "ann", "t", 100.0)

    def holders(self, keys: Collection[int]) -> Mapping[int, Claim]:
        return {7: self.held} if 7 in keys else {}

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a decision needs no {name}")


def decider(key: int = 7, **decision: Any) -> str:
    made = Decision("c", Action.DISCARD, **({"principal": "t"} | decision))
    return claims.decider(OneClaim(), made, key)


def test_a_lease_names_the_reviewer_if_the_decision_does_not() -> None:
    assert decider(lease_id="lease-a") == "ann"
    assert decider(lease_id="lease-a", reviewer="ann") == "ann"


def test_a_lease_of_another_reviewer_candidate_or_token_or_an_ended_one_is_lost() -> None:
    for wrong in (
        {"lease_id": "lease-b"},
        {"lease_id": "lease-a", "reviewer": "bob"},
        {"lease_id": "lease-a", "principal": "u"},
        {"lease_id": "lease-a", "key": 8},
    ):
        with pytest.raises(ClaimLost):
            decider(**wrong)


def test_without_a_lease_whoever_does_not_name_the_holder_is_refused() -> None:
    for reviewer in ("", "bob"):
        with pytest.raises(Claimed) as refused:
            decider(reviewer=reviewer)
        assert (refused.value.reviewer, refused.value.expires_at) == ("ann", 100.0)
    assert decider(reviewer="ann") == "ann"


def test_a_candidate_that_nobody_holds_is_decided_as_ever() -> None:
    assert decider(key=8) == ""
    assert decider(key=8, reviewer="bob") == "bob"


def entry(revision: int, number: int) -> HistoryEntry:
    return HistoryEntry(revision, File.CANDIDATES, "c", "flag", "", "", None, None, number=number)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.data())
def test_a_cut_names_only_revisions_that_it_has_whole(steps: list[bool], data: Any) -> None:
    entries, revision = [], 5
    for number, new in enumerate(steps, 1):
        revision += new
        entries.append(entry(revision, number))
    count = data.draw(st.integers(1, len(entries) - 1))
    part = cut(Stretch(entries, complete(4), complete(revision), revision), count)
    assert part.entries == entries[:count]
    rest = [each for each in entries if HistoryCursor(each.revision, each.number) > part.end]
    assert rest == entries[count:]
    assert all(each.revision > part.revision for each in rest)
    assert part.revision == level_at(part.end)


def test_a_cursor_inside_a_revision_is_level_with_the_one_before() -> None:
    assert level_at(HistoryCursor(9, END)) == 9
    assert level_at(HistoryCursor(9, 3)) == 8


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_the_names_of_a_change_are_read_from_its_beginning(old: dict[str, int], new: dict[str, int]) -> None:
    text = difference(old, new)
    names = json.loads(text)["set"]
    assert names_of(text) == names
    assert names_of(text[: text.index("]", len(json.dumps(names)) + 7) + 1]) == names
