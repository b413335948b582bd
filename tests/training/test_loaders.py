"""Two nodes of three workers each: disjoint, complete, and sent once in all; and states that survive a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from avocet_client import CorrectionsClient, to_dict
from avocet_client.datasets import iterable_dataset
from avocet_client.torch import ExportDataset
from tests.client.fake import FakeServer
from tests.support import Server, record, write_records

EXAMPLES = 300
NODES = 2
WORKERS = 3


class Relay:
    """Passes exports on to a server and counts what is sent."""

    def __init__(self, server: Server) -> None:
        self.sent: Counter[str] = Counter()
        self._server = server
        self._fake = FakeServer(self._pass_on, threads=NODES * WORKERS + 2)
        self.address = self._fake.address

    def close(self) -> None:
        self._fake.close()

    def _pass_on(self, name: str, request: Any, context: Any) -> Iterator[Any]:
        assert name == "StreamExport"
        for response in self._server.stub.StreamExport(request):
            self.sent.update(example.id for example in response.examples)
            yield response


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("loaders"))
    write_records(
        server.approved,
        [record(f"e{n:03d}", status="approved", corrected_response=f"better {n}") for n in range(EXAMPLES)],
    )
    yield server.start()
    server.kill()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    made = Relay(server)
    yield made
    made.close()


@pytest.fixture
def client(relay: Relay) -> Iterator[CorrectionsClient]:
    with CorrectionsClient(relay.address) as made:
        yield made


def torch_node(client: CorrectionsClient, rank: int, revision: int) -> Any:
    return ExportDataset(client, render=to_dict, rank=rank, world_size=NODES, at_revision=revision)


def huggingface_node(client: CorrectionsClient, rank: int, revision: int) -> Any:
    dataset = iterable_dataset(client, render=to_dict, num_shards=NODES * WORKERS, at_revision=revision)
    return split_dataset_by_node(dataset, rank, NODES)


@pytest.mark.parametrize("node", [torch_node, huggingface_node])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_nodes_of_workers_read_each_example_once(
    server: Server, relay: Relay, client: CorrectionsClient, node: Any, start: str
) -> None:
    revision = server.stats().revision
    read = [
        [
            row["id"]
            for row in DataLoader(
                node(client, rank, revision), batch_size=None, num_workers=WORKERS, multiprocessing_context=start
            )
        ]
        for rank in range(NODES)
    ]
    everything = Counter(f"e{n:03d}" for n in range(EXAMPLES))
    assert all(read)
    assert Counter(id for part in read for id in part) == everything
    assert relay.sent == everything, "the server sent each once in all"


def test_a_torch_data_set_is_pinned_where_it_is_made(server: Server) -> None:
    with CorrectionsClient(server.address) as client:
        dataset = ExportDataset(client, render=to_dict)
        assert dataset.revision == server.stats().revision
        assert len({row["id"] for row in dataset}) == EXAMPLES
        assert [row["id"] for row in dataset] == [row["id"] for row in dataset]


def test_a_torch_data_set_of_a_snapshot_reads_it_and_continues(server: Server) -> None:
    with CorrectionsClient(server.address) as client:
        made = client.create_snapshot("named")
        dataset = ExportDataset(client, render=to_dict, snapshot="named")
        assert dataset.revision == made.revision
        rows = iter(dataset)
        taken = [next(rows)["id"] for _ in range(5)]
        resumed = ExportDataset(client, render=to_dict, snapshot="named")
        resumed.load_state_dict(dataset.state_dict())
        ids = [*taken, *(row["id"] for row in resumed)]
        assert len(ids) == len(set(ids)) == EXAMPLES


def stateful(client: CorrectionsClient, workers: int) -> Any:
    return StatefulDataLoader(ExportDataset(client, render=to_dict), batch_size=None, num_workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_continues_at_the_very_row(server: Server, workers: int) -> None:
    with CorrectionsClient(server.address) as client:
        whole = [row["id"] for row in stateful(client, workers)]
        first = stateful(client, workers)
        rows = iter(first)
        before = [next(rows)["id"] for _ in range(101)]
        resumed = stateful(client, workers)
        resumed.load_state_dict(first.state_dict())
        assert before + [row["id"] for row in resumed] == whole
        assert sorted(whole) == [f"e{n:03d}" for n in range(EXAMPLES)]
