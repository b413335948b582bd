"""`avocet batch`: many decisions from a file of JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from avocet_client.batch_state import Decision, request_of
from avocet_client.calls import new_request_id
from avocet_client.cli.decided import is_decided_so
from avocet_client.cli.lines import check_names, object_of, told
from avocet_client.cli.lookup import look_up
from avocet_client.cli.options import RequestId, Reviewer
from avocet_client.cli.session import Exit, Session, complain
from avocet_client.errors import CandidateNotFound, CorrectionsError, InvalidField, NotInReview, RevisionMismatch
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ACTIONS, status_word

AT_ONCE = 500
RETRY_FOR_SECONDS = 20.0
"""A person waits; for a longer outage, there is `--retry-for`."""
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
        self.failed.append({"line": line, "id": id, "reason": reason, "error": told(error)})


_Lines = list[tuple[int, Decision]]
"""Decisions with the numbers of their lines."""


def batch(
    session: Session,
    file: Annotated[Path, typer.Argument(help="JSON lines, a decision each; '-' is standard input.", allow_dash=True)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every line, and decide nothing.")] = False,
    retry_for: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to keep trying during an outage.")
    ] = RETRY_FOR_SECONDS,
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> int | None:
    """Decide many candidates from a file. A line that is refused does not hold up the others.

    Each line is an object with id and action (correct, discard, flag). A correction has corrected_response or
    corrected_message. Optional: failure_category, reviewer, expected_revision, lease_id.

    It is safe to run it again on the same file: what was decided as the line says counts as decided before. So after
    an outage that was longer than --retry-for run it again. --dry-run says beforehand what would be refused.
    """
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines:
        session.reach()
        who, made, outcome = session.reviewer(reviewer), request_id or new_request_id(), _Outcome()
        decisions = _decisions(lines, who, outcome)
        try:
            if dry_run:
                _check(session, list(decisions), outcome)
            else:
                for number, piece in enumerate(_pieces(decisions)):
                    _decide(session, piece, f"{made}.{number}", retry_for, outcome)
        except CorrectionsError as error:
            error.request_id = made if error.request_id else ""
            raise
        finally:
            _summarize(session, outcome, dry_run)
    return Exit.REFUSED if outcome.failed else None


def _pieces(decisions: Iterator[tuple[int, Decision]]) -> Iterator[_Lines]:
    while piece := list(islice(decisions, AT_ONCE)):
        yield piece


def _decide(session: Session, piece: _Lines, request_id: str, retry_for: float, outcome: _Outcome) -> None:
    decisions = [decision for _, decision in piece]
    results = session.client.submit_many(decisions, request_id=request_id, retry_for=retry_for)
    refused = [
        (line, decision, result.error)
        for (line, decision), result in zip(piece, results, strict=True)
        if result.error is not None
    ]
    outcome.decided += len(piece) - len(refused)
    before = [decision.id for _, decision, error in refused if isinstance(error, NotInReview | RevisionMismatch)]
    known = look_up(session.client, before)
    for line, decision, error in refused:
        if decision.id in known and is_decided_so(known[decision.id], decision):
            outcome.before += 1
        else:
            outcome.fail(line, decision.id, error)


def _check(session: Session, lines: _Lines, outcome: _Outcome) -> None:
    """Count what deciding would do, in the order of the lines, from what the service says of the candidates."""
    known = look_up(session.client, [decision.id for _, decision in lines])
    mine = _held_by_the_token(session, lines)
    decided: dict[str, Decision] = {}
    for line, decision in lines:
        first = decided.get(decision.id)
        candidate = known.get(decision.id)
        if first is not None:
            if replace(first, expected_revision=None) == replace(decision, expected_revision=None):
                outcome.before += 1
            else:
                outcome.fail(line, decision.id, ValueError("an earlier line decides it otherwise"))
        elif candidate is not None and is_decided_so(candidate, decision):
            outcome.before += 1
        elif (why := _refusal(candidate, decision, mine)) is not None:
            outcome.fail(line, decision.id, why)
        else:
            decided[decision.id] = decision
            outcome.decided += 1


def _held_by_the_token(session: Session, lines: _Lines) -> set[str]:
    """Return the ids that the caller's token holds, if it is the token that says who decides."""
    if all(decision.reviewer for _, decision in lines) or not session.connection.token:
        return set()
    return {candidate.id for candidate in session.client.in_review(claims="mine")}


def _refusal(candidate: pb.Candidate | None, decision: Decision, mine: Collection[str]) -> Exception | None:
    """Return why the service would refuse the decision, as far as the candidate shows it."""
    if candidate is None:
        return CandidateNotFound("No candidate has this id.")
    if decision.expected_revision not in (None, candidate.revision):
        return ValueError(f"its revision is {candidate.revision}")
    if candidate.status != pb.CANDIDATE_STATUS_NEEDS_REVIEW:
        return ValueError(f"it is {status_word(candidate) or 'not in review'} already")
    holder = candidate.claim.reviewer
    is_own = holder == decision.reviewer or (not decision.reviewer and decision.id in mine)
    if holder and not decision.lease_id and not is_own:
        return ValueError(f"{holder} holds it")
    return None


def _decisions(lines: Iterable[bytes], reviewer: str, outcome: _Outcome) -> Iterator[tuple[int, Decision]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stated: dict[str, Any] = {}
        try:
            stated = object_of(line, number)
            decision = _decision(stated)
        except (TypeError, ValueError, InvalidField) as error:
            id = stated.get("id")
            outcome.fail(number, id if isinstance(id, str) else "", error)
        else:
            by_lease = not decision.reviewer and bool(decision.lease_id)
            yield number, decision if decision.reviewer or by_lease else replace(decision, reviewer=reviewer)


def _decision(stated: dict[str, Any]) -> Decision:
    """Return the decision of a line. Raises TypeError or ValueError if it is not one."""
    check_names(stated, "a decision", NAMES, ("id", "action"))
    given = {name: value for name, value in stated.items() if value is not None}
    for name, value in given.items():
        kind, words = KINDS.get(name, (str, "a string"))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} must be {words}")
    if given["action"] not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}; it is {given['action']!r}")
    decision = Decision(**given)
    if decision.action == "correct" and not decision.corrected_response.strip() and decision.corrected_message is None:
        raise ValueError("a correction needs corrected_response, which must not be blank, or corrected_message")
    # What cannot be sent is told of this line alone.
    request_of(decision)
    return decision


def _summarize(session: Session, outcome: _Outcome, dry_run: bool) -> None:
    outcome.failed.sort(key=lambda each: each["line"])
    verb = "would be decided" if dry_run else "decided"
    summary = f"{outcome.decided:,} {verb}, {outcome.before:,} decided so before, {len(outcome.failed):,} refused"
    data = {"decided": outcome.decided, "decided_before": outcome.before, "failed": outcome.failed, "dry_run": dry_run}
    session.show(data, lambda: summary)
    if not session.as_json:
        for each in outcome.failed:
            complain(session.err, f"line {each['line']}: {each['id'] or 'no id'}: {each['error']}")
