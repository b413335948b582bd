"""The Hugging Face data set: its state, its shards, and what the server sends."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets.distributed import split_dataset_by_node

from avocet_client import CandidateFilter, CorrectionsClient, to_kto, to_preference
from avocet_client.datasets import iterable_dataset
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.fake import FakeServer
from tests.support import Server, record, write_records

COUNT = 60


def prompts(rows: Any) -> list[str]:
    return [row["prompt"][-1]["content"] for row in rows]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("datasets"))
    approved = [record(f"e{n:02d}", status="approved", corrected_response=f"better {n}") for n in range(COUNT)]
    write_records(server.approved, approved)
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[CorrectionsClient]:
    with CorrectionsClient(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def everything(client: CorrectionsClient) -> list[str]:
    return prompts(iterable_dataset(client))


def test_a_data_set_has_every_row_each_time_it_is_iterated_over(client: CorrectionsClient) -> None:
    dataset = iterable_dataset(client)
    once, again = prompts(dataset), prompts(dataset)
    assert once == again
    assert len(set(once)) == COUNT


def test_filters_and_renderers_shape_the_rows(client: CorrectionsClient) -> None:
    rows = list(iterable_dataset(client, render=to_preference, filter=CandidateFilter(task_types=["code"])))
    assert 0 < len(rows) < COUNT
    assert {tuple(row) for row in rows} == {("prompt", "chosen", "rejected")}
    assert len(list(iterable_dataset(client, render=to_kto, num_shards=4))) == 2 * COUNT


@pytest.mark.parametrize("num_shards", [1, 4])
@pytest.mark.parametrize("render", [to_preference, to_kto])
def test_a_state_continues_at_the_very_row(client: CorrectionsClient, num_shards: int, render: Any) -> None:
    dataset = iterable_dataset(client, render=render, num_shards=num_shards)
    whole = list(dataset)
    for stop in (1, 2, 17, 43, len(whole) - 1):
        iterator = iter(dataset)
        before = [next(iterator) for _ in range(stop)]
        state = json.loads(json.dumps(dataset.state_dict()))
        resumed = iterable_dataset(client, render=render, num_shards=num_shards)
        resumed.load_state_dict(state)
        assert before + list(resumed) == whole, stop


def test_a_state_reads_nothing_again(client: CorrectionsClient) -> None:
    dataset = iterable_dataset(client)
    iterator = iter(dataset)
    for _ in range(40):
        next(iterator)
    state = dataset.state_dict()["examples_iterable"]["rows"]["export"]
    assert state["consumed"] == 40


def test_a_map_and_a_batch_over_it_keep_the_state(client: CorrectionsClient) -> None:
    def mapped() -> Any:
        return iterable_dataset(client, num_shards=2).map(lambda row: {"n": len(row["completion"])}).batch(7)

    whole = list(mapped())
    dataset = mapped()
    iterator = iter(dataset)
    before = [next(iterator) for _ in range(4)]
    resumed = mapped()
    resumed.load_state_dict(json.loads(json.dumps(dataset.state_dict())))
    assert before + list(resumed) == whole


@pytest.mark.parametrize("nodes", [2, 3])
def test_nodes_read_disjoint_and_complete_parts(client: CorrectionsClient, everything: list[str], nodes: int) -> None:
    dataset = iterable_dataset(client, num_shards=6)
    parts = [prompts(split_dataset_by_node(dataset, rank, nodes)) for rank in range(nodes)]
    assert all(parts)
    assert Counter(prompt for part in parts for prompt in part) == Counter(everything)


def test_each_node_asks_the_server_for_its_own_shards_alone() -> None:
    def behave(name: str, request: Any, context: Any) -> Iterator[pb.StreamExportResponse]:
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        yield pb.StreamExportResponse(revision=7, summary=pb.ExportSummary(ids_sha256=empty))

    fake = FakeServer(behave)
    with CorrectionsClient(fake.address) as client:
        dataset = iterable_dataset(client, num_shards=6)
        fake.requests.clear()
        assert list(split_dataset_by_node(dataset, rank=1, world_size=2)) == []
    fake.close()
    asked = [(request.shard_index, request.shard_count, request.at_revision) for request in fake.requests]
    assert asked == [(1, 6, 7), (3, 6, 7), (5, 6, 7)]


def test_a_data_set_is_pinned_to_one_revision(server: Server, client: CorrectionsClient) -> None:
    dataset = iterable_dataset(client, num_shards=2)
    before = prompts(dataset)
    request = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")
    server.ingest(request)
    assert prompts(dataset) == before
    assert len(prompts(iterable_dataset(client, num_shards=2))) == len(before) + 1


def test_a_data_set_of_a_snapshot_reads_it_and_continues(server: Server, client: CorrectionsClient) -> None:
    client.create_snapshot("named")
    before = prompts(iterable_dataset(client))
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="later", correction="c"))
    dataset = iterable_dataset(client, num_shards=2, snapshot="named")
    assert sorted(prompts(dataset)) == sorted(before)
    rows = iter(dataset)
    taken = [next(rows) for _ in range(5)]
    resumed = iterable_dataset(client, num_shards=2, snapshot="named")
    resumed.load_state_dict(json.loads(json.dumps(dataset.state_dict())))
    assert taken + list(resumed) == list(iterable_dataset(client, num_shards=2, snapshot="named"))


def test_a_data_set_goes_to_another_process(client: CorrectionsClient) -> None:
    dataset = iterable_dataset(client, num_shards=2)
    assert prompts(pickle.loads(pickle.dumps(dataset))) == prompts(dataset)


def test_shuffled_shards_are_still_all_there(client: CorrectionsClient) -> None:
    dataset = iterable_dataset(client, num_shards=6)
    shuffled = prompts(dataset.shuffle(seed=3, buffer_size=10))
    assert shuffled != prompts(dataset)
    assert sorted(shuffled) == sorted(prompts(dataset))


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "made again"])
def test_a_data_set_of_a_snapshot_stays_what_it_was(tmp_path: Path, again: bool) -> None:
    server = Server(tmp_path)
    write_records(server.candidates, [record(id) for id in "abc"])
    server.start()
    try:
        with CorrectionsClient(server.address) as client:
            for id in "ab":
                client.submit(id, action="correct", corrected_response=id)
            client.create_snapshot("run")
            dataset = iterable_dataset(client, snapshot="run", num_shards=2)
            before = list(dataset)
            client.delete_snapshot("run")
            client.submit("c", action="correct", corrected_response="c")
            if again:
                client.create_snapshot("run")
            assert len(before) == 2
            assert list(dataset) == before
    finally:
        server.kill()
