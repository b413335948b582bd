"""`avocet list`: candidates of any status."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from avocet_client.cli.options import ListOrderName, StatusName, word, words_of
from avocet_client.cli.plain import plain
from avocet_client.cli.session import Session
from avocet_client.cli.tables import candidates_table
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter

PAGE = 500


def list_candidates(
    session: Session,
    filter: CandidateFilter,
    statuses: Annotated[
        list[StatusName] | None,
        typer.Option("--status", help="Only with this status; 'other' is another program's word. Repeat it for more."),
    ] = None,
    text: Annotated[
        str, typer.Option("--text", help="Only with this text in prompt, response or correction: 3 characters or more.")
    ] = "",
    order: Annotated[ListOrderName, typer.Option(help="What comes first.")] = ListOrderName.file,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most; 0 for all.")] = 20,
    page_token: Annotated[str, typer.Option(help="Continue where another page ended.")] = "",
) -> None:
    """List candidates, decided ones too; 'queue' has those in review alone."""
    found: list[pb.Candidate] = []
    with session.err.status("searching"):
        while True:
            page = session.client.list_candidates(
                statuses=words_of(statuses), filter=filter, text=text, order=word(order),
                page_size=min(limit - len(found), PAGE) if limit else PAGE, page_token=page_token,
            )  # fmt: skip
            found += page.items
            page_token = page.next_page_token
            if not page_token or (limit and len(found) >= limit):
                break
    listed = {"items": [plain(each) for each in islice(found, limit or None)], "next_page_token": page_token}
    session.show(listed, lambda: candidates_table(found, page_token))
