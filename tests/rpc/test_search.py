"""`serve --search`: texts are found by an index, which the service makes, keeps and gives up by itself."""

from __future__ import annotations

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.search_index import SearchIndex
from tests.support import Server, eventually, record, write_records


def found(server: Server, text: str) -> list[str]:
    """The ids of all pages."""
    ids, token = list[str](), ""
    while True:
        page = server.stub.ListCandidates(pb.ListCandidatesRequest(text=text, page_token=token, page_size=2))
        ids += [item.id for item in page.items]
        token = page.next_page_token
        if not token:
            return ids


def pages(server: Server, text: str) -> list[list[str]]:
    """The ids of each page."""
    found, token = list[list[str]](), ""
    while not found or token:
        page = server.stub.ListCandidates(pb.ListCandidatesRequest(text=text, page_token=token))
        found.append([item.id for item in page.items])
        token = page.next_page_token
    return found


def is_level(server: Server) -> bool:
    return SearchIndex(DataDirectory(server.candidates.parent).search).level() == server.stats().revision


@pytest.mark.files("the index of texts lies in the data directory")
def test_a_text_is_found_by_the_index_from_the_first_start_over_changes_and_restarts(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}", model_response=f"answer {n % 5}") for n in range(30)])
    server.environment = {"AVOCET_SEARCH": "1"}
    server.start()
    eventually(lambda: is_level(server))
    assert found(server, "Answer 3") == [f"c{n}" for n in range(3, 30, 5)]
    server.correct("c4", "a better answer 3")
    assert found(server, "ANSWER 3") == ["c3", "c4", *(f"c{n}" for n in range(8, 30, 5))]
    with server.candidates.open("a") as file:
        file.write('{"id": "late", "status": "needs_review", "model_response": "answer 3"}\n')
    eventually(lambda: found(server, "answer 3")[-1] == "late")
    server.kill()
    server.start()
    eventually(lambda: is_level(server))
    assert found(server, "better") == ["c4"]
    assert len(found(server, "answer 3")) == 8


@pytest.mark.files("the index of texts lies in the data directory")
def test_without_the_flag_the_index_is_deleted_and_the_same_is_found(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}", model_response="the answer") for n in range(3)])
    server.environment = {"AVOCET_SEARCH": "1"}
    server.start()
    index = DataDirectory(server.candidates.parent).search
    eventually(lambda: is_level(server))
    assert server.stop() == 0
    assert index.exists()
    server.environment = {}
    server.start()
    eventually(lambda: not index.exists())
    assert found(server, "THE ANSWER") == ["c0", "c1", "c2"]


@pytest.mark.files("the search index is a file")
def test_a_page_that_the_index_cannot_narrow_looks_at_as_many_as_without_an_index(stopped_server: Server) -> None:
    server = stopped_server
    made = [{"id": f"c{n}", "status": "needs_review", "model_response": "plain"} for n in range(10_050)]
    # The index has no trigram of a text of three characters with a NUL among them.
    made[10_020]["model_response"] = "the n\0d"
    write_records(server.candidates, made)
    server.environment = {"AVOCET_SEARCH": "1"}
    server.start(within=60)
    eventually(lambda: is_level(server), within=60)
    assert pages(server, "n\0d") == [[], ["c10020"]]
    assert pages(server, "no such") == [[]]
    server.kill()
    index = DataDirectory(server.candidates.parent).search
    for path in index.parent.glob(index.name + "*"):
        path.unlink()
    index.mkdir()
    server.start(within=60)
    assert pages(server, "no such") == [[], []]
