"""The command: its flags, and what happens on leaving."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from avocet_client.cli.options import OrderName, Reviewer, word
from avocet_client.cli.review.drafts import Drafts
from avocet_client.cli.review.keys import Keys, Terminated
from avocet_client.cli.review.supply import Supply
from avocet_client.cli.review.talk import Talk
from avocet_client.cli.review.walk import Walk
from avocet_client.cli.session import Exit, Session, complain
from avocet_client.words import CandidateFilter

LEASE_SECONDS = 300


def review(
    session: Session,
    filter: CandidateFilter,
    order: Annotated[OrderName, typer.Option(help="What comes first.")] = OrderName.file,
    claims: Annotated[
        bool, typer.Option("--claims/--no-claims", help="Claim what is shown, so that no colleague gets it.")
    ] = True,
    lease: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=10, max=3_600, help="How long a claim outlives a crash of this command."),
    ] = LEASE_SECONDS,
    reviewer: Reviewer = None,
) -> int | None:
    """Review one candidate after another in the terminal, key by key.

    - c  correct in $EDITOR; the prompt stands above the text as comments
    - t  correct with a message that calls tools, as JSON
    - d  discard        f  flag        s  skip
    - u  undo, and again for the decision before
    - p  read it whole in $PAGER
    - ?  explain the keys
    - q  quit, as Ctrl-C does; Esc goes back and decides nothing

    What is shown is claimed: colleagues who review at the same time get others. Each decision is stored at once. If
    somebody else has changed or decided the candidate meanwhile, you see how, and nothing is overwritten.

    What you type is kept below ~/.local/state/avocet until its decision is stored. It is offered again after a
    conflict, a lost claim or a crash.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError("review needs a terminal; a program decides with 'avocet submit' or 'avocet batch'")
    # A renewal that fails is tried again; if it fails for good, the next key tells.
    logging.getLogger("avocet_client").addHandler(logging.NullHandler())
    who = session.reviewer(reviewer)
    drafts = Drafts(session.connection.address)
    code: int | None = None
    with Keys() as keys:
        talk = Talk(session.err, keys)
        supply = Supply(session.client, filter, word(order), who, lease, claims)
        walk = Walk(session.client, talk, supply, drafts, who)
        try:
            with supply:
                walk.run()
        except KeyboardInterrupt:
            pass
        except Terminated:
            code = Exit.INTERRUPTED
        finally:
            for id, path in drafts.kept():
                complain(session.err, f"The correction of {id} was not stored; it is kept in {path}", style="")
    counts = walk.state.counts
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing was decided"
    session.show(dict(counts), lambda: words)
    return code
