"""Paging through what waits for review."""

from __future__ import annotations

import json

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, queue_ids, record, write_records

pytestmark = pytest.mark.both_engines

COUNT = 30


@pytest.fixture
def thirty(stopped_server: Server) -> Server:
    """A running server with 30 candidates in review, `c00` to `c29`, of rising quality and falling time."""
    contents = [
        record(
            f"c{n:02d}",
            quality_score=n / 100,
            timestamp=f"2025-03-01T12:{59 - n:02d}:00",
            task_type="code" if n % 2 else "summary",
            model_name=f"model-{n % 3}",
            label="gold" if n < 3 else None,
        )
        for n in range(COUNT)
    ]
    del contents[7]["quality_score"], contents[7]["timestamp"]
    write_records(stopped_server.candidates, contents)
    return stopped_server.start()


ALL = [f"c{n:02d}" for n in range(COUNT)]
LAST = [id for id in ALL if id != "c07"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (pb.ORDER_UNSPECIFIED, ALL),
        (pb.ORDER_FILE, ALL),
        (pb.ORDER_TIMESTAMP, [*LAST[::-1], "c07"]),
        (pb.ORDER_TIMESTAMP_DESC, [*LAST, "c07"]),
        (pb.ORDER_QUALITY, [*LAST, "c07"]),
        (pb.ORDER_QUALITY_DESC, [*LAST[::-1], "c07"]),
    ],
)
def test_each_order_gives_every_item_once_with_those_without_the_key_last(thirty: Server, order, expected) -> None:
    assert list(queue_ids(thirty, order=order, per_page=7)) == expected


def test_a_filter_ors_inside_a_list_and_ands_the_lists(thirty: Server) -> None:
    def ids(**fields) -> list[str]:
        return list(queue_ids(thirty, filter=pb.CandidateFilter(**fields), per_page=4))

    assert ids(task_types=["code"]) == [id for n, id in enumerate(ALL) if n % 2]
    assert ids(model_names=["model-0", "model-1"]) == [id for n, id in enumerate(ALL) if n % 3 < 2]
    assert ids(task_types=["code"], model_names=["model-0"]) == [id for n, id in enumerate(ALL) if n % 6 == 3]
    assert ids(min_quality_score=0.05, max_quality_score=0.09) == ["c05", "c06", "c08", "c09"]
    assert ids(labels=["gold"]) == ["c00", "c01", "c02"]
    assert ids(sources=["nobody"]) == []
    assert ids(failure_categories=[pb.FAILURE_CATEGORY_WRONG_ANSWER]) == []


def test_tokens_visit_each_item_that_stays_once_while_half_of_them_leave(thirty: Server) -> None:
    visited = []
    for position, id in enumerate(queue_ids(thirty, per_page=4)):
        visited.append(id)
        if position % 2 == 0:
            thirty.correct(id)
        if position == 3:
            thirty.stub.Submit(pb.SubmitRequest(id="c29", action=pb.ACTION_DISCARD))
    assert visited == ALL[:-1]
    stayed = ALL[1:-1:2]
    assert list(queue_ids(thirty, per_page=4)) == stayed


def test_what_is_undone_is_back_in_its_old_place(thirty: Server) -> None:
    thirty.correct("c05")
    assert "c05" not in list(queue_ids(thirty))
    thirty.stub.Undo(pb.UndoRequest(id="c05"))
    assert list(queue_ids(thirty)) == ALL


def test_page_numbers_jump_and_tell_the_total(thirty: Server) -> None:
    page = thirty.stub.Queue(pb.QueueRequest(page=3, per_page=10))
    assert [item.id for item in page.items] == ALL[20:]
    assert (page.total, page.page, page.per_page, page.next_page_token) == (COUNT, 3, 10, "")
    beyond = thirty.stub.Queue(pb.QueueRequest(page=99, per_page=10))
    assert (list(beyond.items), beyond.total) == ([], COUNT)


@pytest.mark.parametrize(("asked", "used"), [(0, 20), (10_000, 500), (500, 500), (1, 1)])
def test_the_page_size_has_a_default_and_a_maximum(thirty: Server, asked: int, used: int) -> None:
    page = thirty.stub.Queue(pb.QueueRequest(per_page=asked))
    assert (page.per_page, page.page, len(page.items)) == (used, 1, min(used, COUNT))


def test_a_page_ends_at_three_megabytes_and_a_larger_record_comes_alone(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}", model_response="x" * 1_300_000) for n in range(5)])
    with stopped_server.candidates.open("a") as file:
        file.write(json.dumps(record("large", model_response="y" * 3_500_000)) + "\n" + json.dumps(record("z")) + "\n")
    server = stopped_server.start()
    token, pages = "", []
    while True:
        page = server.stub.Queue(pb.QueueRequest(page_token=token))
        pages.append([item.id for item in page.items])
        assert page.ByteSize() <= 3_000_000 * 1.05 or len(page.items) == 1
        token = page.next_page_token
        if not token:
            break
    assert pages == [["c0", "c1"], ["c2", "c3"], ["c4"], ["large"], ["z"]]
