"""What other programs did to a shared file, on its way to the ledger.

Owns
    Deciding what a look at a file means, reading what is new, comparing a rewritten file, and noting the verdicts. The
    verdict itself is the ledger's: `core/external.py`.

May import
    `core`, `layout`, `telemetry`, and the rest of the mirror.

Reading order
    `look`, `rules`         whether the file is as it was, has grown, or is another one; and how a look takes that in
    `tail`                  imports appended lines; a command ends once it has 8 MB
    `reconcile`, `line_diff`, `pairs`    compares a rewritten file with the index, and decides about what is gone
    `beginning`             how a file is compared at a start
    `first_start`, `without_index`, `resync`    a file that the index does not know
    `verdicts`              what the ledger decided, as rows of the index
    `remains`, `problems`   what a kill left of our own lines; saying once what is wrong with others'

Rules
    - A damaged file deletes nothing (`rules.is_damage`).
    - The index is changed in the transaction that read the file; if that fails, nothing is noted.
"""
