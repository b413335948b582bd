"""JSON in a string of a record, nested nearly as deep as Python reads: it is text, and holds nothing up."""

from __future__ import annotations

import json

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Json, Server, eventually, record, write_records

DEPTHS = range(870, 1000, 3)
"""Python reads about as deep as 1,000, less what calls it; what it reads, it may fail to write from elsewhere."""


def deep(depth: int) -> Json:
    inner = '{"k":' * depth + "1" + "}" * depth
    call = {"from": "function_call", "value": f'{{"name": "f", "arguments": {inner}}}'}
    return record(f"deep-{depth}", prompt_messages=[call], tools=f'[{{"x": {inner}}}]')


@pytest.mark.files("what other programs append")
def test_records_with_such_strings_and_those_behind_them_are_taken_in_served_and_exported(
    stopped_server: Server,
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("first")])
    server.start()
    given = [*map(deep, DEPTHS), record("last")]
    approved = [{**one, "status": "approved", "corrected_response": "four"} for one in given]
    with server.candidates.open("a") as file:
        file.write("".join(json.dumps(one) + "\n" for one in given))
    with server.approved.open("a") as file:
        file.write("".join(json.dumps(one) + "\n" for one in approved))

    def exported() -> list[str]:
        stream = server.stub.StreamExport(pb.StreamExportRequest())
        return [example.id for response in stream for example in response.examples]

    ids = [one["id"] for one in given]
    eventually(lambda: exported() == ids)
    eventually(lambda: server.stats().total == len(given) + 1)
    page = server.stub.Queue(pb.QueueRequest(per_page=500))
    assert [one.id for one in page.items] == ["first", *ids]
    for one, sent in zip(page.items[1:-1], given, strict=False):
        assert one.prompt_messages[0].content == sent["prompt_messages"][0]["value"]
        assert json.loads(one.extra_json)["tools"] == sent["tools"]
    assert server.correct(ids[0]).status == pb.CANDIDATE_STATUS_APPROVED
