"""`avocet submit`: one decision, stated by flags or typed in the editor."""

from __future__ import annotations

from typing import Annotated

import grpc
import typer

from avocet_client.cli.candidate_view import candidate_panel, context_lines
from avocet_client.cli.options import ActionName, Category, RequestId, Reviewer, word
from avocet_client.cli.plain import plain
from avocet_client.cli.review.drafts import TEXT, Drafts
from avocet_client.cli.review.message_draft import read_message
from avocet_client.cli.session import Exit, Session, complain
from avocet_client.errors import CorrectionsError, NotInReview
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import status_word


def submit(
    session: Session,
    id: Annotated[str, typer.Argument(help="The candidate's id.")],
    action: Annotated[ActionName, typer.Argument(help="What to do with it.")] = ActionName.correct,
    correction: Annotated[
        str | None, typer.Option("--text", "-t", metavar="TEXT", help="The correction; without it $EDITOR opens.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="JSON", help="The correction as a message, if it has tool calls."),
    ] = None,
    category: Category = None,
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> int | None:
    """Decide a candidate: correct, discard or flag it.

    Without --text and --message, 'correct' opens $EDITOR on the model's own response, or on what you typed before and
    what was not stored. It does not open for a candidate that is decided already.
    """
    typed, revision = None, None
    drafts = Drafts(session.connection.address)
    stated = None if message is None else read_message(message)
    if action is ActionName.correct and correction is None and stated is None:
        candidate = session.client.get_candidate(id)
        _check_in_review(session, candidate, drafts)
        typed, revision = _typed(candidate, drafts), candidate.revision
        if typed is None:
            session.err.print("Nothing was changed, so nothing is submitted.")
            return Exit.REFUSED
    try:
        decided = session.client.submit(
            id,
            action=word(action),
            corrected_response=typed or correction or "",
            corrected_message=stated,
            failure_category=word(category),
            reviewer=session.reviewer(reviewer),
            expected_revision=revision,
            request_id=request_id,
        )
    except CorrectionsError:
        for _, path in drafts.kept():
            complain(session.err, f"Your correction is kept in {path}", style="yellow")
        raise
    if typed is not None:
        drafts.drop(id)
    session.show(plain(decided), lambda: candidate_panel(decided))
    return None


def _check_in_review(session: Session, candidate: pb.Candidate, drafts: Drafts) -> None:
    """Raise NotInReview for a decided candidate, before anything is typed for it that the service would refuse."""
    if candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW:
        return
    if drafts.of(candidate.id, TEXT) is not None:
        complain(session.err, f"Your correction is kept in {drafts.path(candidate.id, TEXT)}", style="yellow")
    status = status_word(candidate) or ""
    raise NotInReview(
        f"It is {status or 'out of review'} now, and is left as it is. 'avocet undo' takes a decision back.",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        metadata={"current_status": status} if status else None,
    )


def _typed(candidate: pb.Candidate, drafts: Drafts) -> str | None:
    """Return what the reviewer types, beginning with the draft of before; None if it was not saved."""
    draft = drafts.of(candidate.id, TEXT)
    start = candidate.model_response.replace("\r\n", "\n") if draft is None else draft.text
    typed, was_saved = drafts.edit(candidate.id, TEXT, start, context_lines(candidate))
    if not was_saved:
        return None
    drafts.keep(candidate.id, TEXT, typed)
    return typed
