"""Whether a candidate was decided just as a decision says."""

from __future__ import annotations

import json
from typing import Any

from avocet_client.batch_state import Decision
from avocet_client.calls import submit
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word, status_word

STATUS_AFTER = {"correct": "approved", "discard": "discarded", "flag": "model_rejected"}


def is_decided_so(candidate: pb.Candidate, decision: Decision) -> bool:
    """Tell whether the candidate was decided just so."""
    if status_word(candidate) != STATUS_AFTER[decision.action]:
        return False
    if decision.failure_category not in (None, category_word(candidate)):
        return False
    if decision.action != "correct":
        return True
    if decision.corrected_message is not None:
        wanted = submit(decision.id, action="correct", corrected_message=decision.corrected_message).request
        return _message(candidate.corrected_message) == _message(wanted.corrected_message)
    return candidate.corrected_response == decision.corrected_response


def _message(message: pb.ChatMessage) -> tuple[str, Any]:
    return message.content, json.loads(message.extra_json or "{}")
