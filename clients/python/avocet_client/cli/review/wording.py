"""What the review says: the keys, and the sentences that have parts."""

from __future__ import annotations

from collections.abc import Sequence

from avocet_client.cli.options import CategoryName
from avocet_client.cli.review.drafts import TEXT, Draft

KEYS = "[c]orrect  [t]ool call  [d]iscard  [f]lag  [s]kip  [u]ndo  [p]ager  [?] help  [q]uit"
IDLE_KEYS = "[u]ndo  [r]efresh  [?] help  [q]uit"
CATEGORIES = [category.value for category in CategoryName]
CATEGORY = "  ".join(f"{number} {name}" for number, name in enumerate(CATEGORIES, 1))
NO_CLAIMS = "Candidates are not claimed, so a colleague may be shown the same ones."
UNCHANGED = "Unchanged.  y submits it as it is  Esc: back"
HELP = """\
c  correct: edit the model's response in $EDITOR, then say what was wrong. It is approved with your text.
   Leave the text as it is to approve the response itself.
t  correct with a message that calls tools, which you edit as JSON
d  discard: it is of no use for training
f  flag: the model failed, and nobody corrects it
   After c, t, d and f you may say what was wrong. Enter, or the same key again, leaves it open.
s  skip: others may get it; it comes back to you in an hour
u  undo: takes your last decision back, then the one before, and so on
p  read it whole in $PAGER; Space does the same
x  throw away the correction that is kept for this candidate
q  quit, as Ctrl-C does. What you have decided is stored.
Esc goes back, and never decides anything.

While a candidate is shown it is claimed: no colleague gets it. Each decision is stored at once.
What you type is kept on disk until its decision is stored, and offered again after a conflict or a crash."""


def progress(handled: int, in_review: int, decided: int) -> str:
    """Return how far the review is, such as `12 of 340`: 11 were decided or skipped here."""
    return f"{handled + 1:,} of {max(decided + in_review, handled + 1):,}"


def drafts_notice(drafts: Sequence[Draft]) -> str:
    """Return what can be done with the drafts for the candidate that is shown."""
    keys = " and ".join(sorted("c" if draft.form == TEXT else "t" for draft in drafts))
    at = max(draft.at for draft in drafts)[:16].replace("T", " ")
    return f"A correction that you typed ({at} UTC) is kept: {keys} goes on with it, x throws it away."


def kept_drafts(ids: Sequence[str]) -> str:
    """Return the question about drafts of before."""
    shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    if len(ids) == 1:
        return f"A correction that you typed before was not stored: {shown}.\ny takes it up now  Enter: later"
    return f"{len(ids)} corrections that you typed before were not stored: {shown}.\ny takes them up now  Enter: later"


def left(count: int) -> str:
    """Return what is still in review when nothing more is handed out."""
    if not count:
        return "The queue is empty."
    return f"Nothing is left for you. {count:,} in review: others hold them, or you skipped them."
