"""Files that a replacement moved aside: other programs may still write to them.

Owns
    Each displaced file from the exchange of names until nobody has it open for writing. What late writers append is
    read, and the file is deleted once it was read to the end.

May import
    `core`, `layout`, `telemetry`, and the rest of the mirror.

Reading order
    `file`     one displaced file: its name, what was read of it, whether it is as it was noted
    `late`     lines written there: each goes to the ledger, then into the file in its place
    `drain`    all of them: watched each round, at a start found again, at a stop waited for

Rules
    - A displaced file is never deleted unread. One that is as it was noted, or has only grown, is kept until nothing
      has changed for a minute (at a stop for a second) and nobody has it open for writing. It may serve again earlier,
      as the copy for the next replacement.
    - A file that is not as noted brings new and edited records, never deletions.
    - A late line goes to the ledger first. Its row and how far the file was read are one commit of the index.
"""
