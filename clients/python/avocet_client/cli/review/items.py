"""The candidates in review, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from avocet_client.client import CorrectionsClient
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter

PAGE = 50


class Items(Iterator[pb.Candidate]):
    """What is in review, read page by page. `total` is how much there was when the last page came."""

    def __init__(self, client: CorrectionsClient, filter: CandidateFilter, order: Any) -> None:
        self._client = client
        self._filter = filter
        self._order = order
        self._token: str | None = ""
        self._page: list[pb.Candidate] = []
        self.total = 0

    def __next__(self) -> pb.Candidate:
        while not self._page and self._token is not None:
            page = self._client.queue(per_page=PAGE, page_token=self._token, filter=self._filter, order=self._order)
            self._page, self._token, self.total = list(page.items), page.next_page_token or None, page.total
        if not self._page:
            raise StopIteration
        return self._page.pop(0)
