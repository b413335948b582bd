"""`avocet batch`: many decisions from a file of JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from avocet_client.batch_state import Decision, DecisionResult
from avocet_client.calls import new_request_id, submit
from avocet_client.cli.options import RequestId, Reviewer
from avocet_client.cli.session import Exit, Session, complain
from avocet_client.errors import CorrectionsError, NotInReview
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ACTIONS, category_word, status_word

AT_ONCE = 500
STATUS_AFTER = {"correct": "approved", "discard": "discarded", "flag": "model_rejected"}
KINDS: dict[str, tuple[type, str]] = {"corrected_message": (dict, "an object"), "expected_revision": (int, "a number")}
NAMES = [each.name for each in fields(Decision)]


@dataclass
class _Outcome:
    """What became of the lines."""

    decided: int = 0
    before: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, line: int, id: str, error: Exception) -> None:
        reason = getattr(error, "reason", "")
        self.failed.append({"line": line, "id": id, "reason": reason, "error": str(error)})


def batch(
    session: Session,
    file: Annotated[Path, typer.Argument(help="JSON lines, a decision each; '-' is standard input.", allow_dash=True)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line, and decide nothing.")] = False,
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> int | None:
    """Decide many candidates from a file. A line that is refused does not hold up the others.

    Each line is an object with id and action (correct, discard, flag). A correction has corrected_response or
    corrected_message. Optional: failure_category, reviewer, expected_revision, lease_id.

    It is safe to run it again on the same file: what was decided as the line says counts as decided before.
    """
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines:
        session.reach()
        who, made, outcome = session.reviewer(reviewer), request_id or new_request_id(), _Outcome()
        try:
            for number, piece in enumerate(_pieces(_decisions(lines, who, outcome))):
                if dry_run:
                    _check(session, piece, outcome)
                else:
                    _decide(session, piece, f"{made}.{number}", outcome)
        except CorrectionsError as error:
            error.request_id = made if error.request_id else ""
            raise
        finally:
            _summarize(session, outcome, dry_run)
    return Exit.REFUSED if outcome.failed else None


def _pieces(decisions: Iterator[tuple[int, Decision]]) -> Iterator[list[tuple[int, Decision]]]:
    while piece := list(islice(decisions, AT_ONCE)):
        yield piece


def _decide(session: Session, piece: Iterable[tuple[int, Decision]], request_id: str, outcome: _Outcome) -> None:
    numbers, decisions = zip(*piece, strict=True)
    results = session.client.submit_many(decisions, request_id=request_id)
    for line, decision, result in zip(numbers, decisions, results, strict=True):
        _count(session, line, decision, result, outcome)


def _count(session: Session, line: int, decision: Decision, result: DecisionResult, outcome: _Outcome) -> None:
    if result.error is None:
        outcome.decided += 1
    elif isinstance(result.error, NotInReview) and _says(session.client.get_candidate(decision.id), decision):
        outcome.before += 1
    else:
        outcome.fail(line, decision.id, result.error)


def _check(session: Session, piece: Iterable[tuple[int, Decision]], outcome: _Outcome) -> None:
    """Count what deciding would do, from what the service says of each candidate."""
    for line, decision in piece:
        try:
            candidate = session.client.get_candidate(decision.id)
        except CorrectionsError as error:
            if not error.reason:
                raise
            outcome.fail(line, decision.id, error)
            continue
        if status_word(candidate) == "needs_review":
            revision = decision.expected_revision
            if revision in (None, candidate.revision):
                outcome.decided += 1
            else:
                outcome.fail(line, decision.id, ValueError(f"its revision is {candidate.revision}"))
        elif _says(candidate, decision):
            outcome.before += 1
        else:
            outcome.fail(line, decision.id, ValueError(f"it is {status_word(candidate) or 'not in review'} already"))


def _says(candidate: pb.Candidate, decision: Decision) -> bool:
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


def _decisions(lines: Iterable[bytes], reviewer: str, outcome: _Outcome) -> Iterator[tuple[int, Decision]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stated: Any = None
        try:
            stated = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            decision = _decision(stated)
        except (TypeError, ValueError, RecursionError) as error:
            id = stated.get("id") if isinstance(stated, dict) else None
            outcome.fail(number, id if isinstance(id, str) else "", error)
        else:
            by_lease = not decision.reviewer and bool(decision.lease_id)
            yield number, decision if decision.reviewer or by_lease else replace(decision, reviewer=reviewer)


def _decision(stated: Any) -> Decision:
    """Return the decision of a line. Raises TypeError or ValueError if it is not one."""
    if not isinstance(stated, dict):
        raise TypeError("it is not a JSON object")
    if unknown := sorted(set(stated) - set(NAMES)):
        raise ValueError(f"it has {', '.join(unknown)}; a decision may have {', '.join(NAMES)}")
    given = {name: value for name, value in stated.items() if value is not None}
    for name, value in given.items():
        kind, words = KINDS.get(name, (str, "a string"))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} must be {words}")
    if missing := [name for name in ("id", "action") if name not in given]:
        raise ValueError(f"it lacks {' and '.join(missing)}")
    if given["action"] not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}; it is {given['action']!r}")
    decision = Decision(**given)
    if decision.action == "correct" and not decision.corrected_response.strip() and decision.corrected_message is None:
        raise ValueError("a correction needs corrected_response, which must not be blank, or corrected_message")
    _wire(decision)
    return decision


def _wire(decision: Decision) -> None:
    """Raise ValueError for what gRPC cannot carry (half a character, a number too large) in this line alone."""
    submit(
        decision.id,
        action=decision.action,
        corrected_response=decision.corrected_response,
        corrected_message=decision.corrected_message,
        failure_category=decision.failure_category,
        reviewer=decision.reviewer,
        expected_revision=decision.expected_revision,
        lease_id=decision.lease_id,
    )


def _summarize(session: Session, outcome: _Outcome, dry_run: bool) -> None:
    outcome.failed.sort(key=lambda each: each["line"])
    verb = "would be decided" if dry_run else "decided"
    summary = f"{outcome.decided:,} {verb}, {outcome.before:,} decided so before, {len(outcome.failed):,} refused"
    told = {"decided": outcome.decided, "decided_before": outcome.before, "failed": outcome.failed, "dry_run": dry_run}
    session.show(told, lambda: summary)
    if not session.as_json:
        for each in outcome.failed:
            complain(session.err, f"line {each['line']}: {each['id'] or 'no id'}: {each['error']}")
