"""Many candidates by id, in as few calls as the service needs."""

from __future__ import annotations

from collections.abc import Iterable

from avocet_client.client import CorrectionsClient
from avocet_client.errors import CandidateNotFound
from avocet_client.v1 import corrections_pb2 as pb

PAGE = 500
TEXTS = ("prompt_messages", "prompt_json", "model_response", "model_response_json", "tools_json", "extra_json")
"""What is large and not looked at here: a file of decisions may name very many candidates."""


def look_up(client: CorrectionsClient, ids: Iterable[str]) -> dict[str, pb.Candidate]:
    """Return the candidates that exist among these ids, without the fields of `TEXTS`.

    Whole pages of the store are read if they are fewer than the ids that are left. Else each id is asked for.
    """
    wanted, found, token = dict.fromkeys(ids), dict[str, pb.Candidate](), ""
    total = client.stats().total if len(wanted) > 1 else 0
    while len(wanted) > 1:
        page = client.list_candidates(page_size=PAGE, page_token=token)
        for item in page.items:
            if item.id in wanted:
                del wanted[item.id]
                found[item.id] = _slim(item)
        total, token = total - len(page.items), page.next_page_token
        if not token:
            return found
        if total > len(wanted) * len(page.items):
            break
    for id in wanted:
        try:
            found[id] = _slim(client.get_candidate(id))
        except CandidateNotFound:
            continue
    return found


def _slim(candidate: pb.Candidate) -> pb.Candidate:
    for name in TEXTS:
        candidate.ClearField(name)  # type: ignore[arg-type]
    return candidate
