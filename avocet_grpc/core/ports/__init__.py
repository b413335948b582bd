"""What the core asks of its surroundings, as protocols. Each says with MUST what an implementation has to keep.

Owns
    The seams of the house: the ledger as commands see it, the ledger as the mirror sees it, the benchmark runs, the
    config file. The room that needs a thing states it here; a room further up provides it.

May import
    `core.model`, `core.observer`, `core.lines` and each other. Nothing of another room.

Reading order
    `ledger`      reading, one transaction, and queueing a change; read it first
    `claims`, `history`, `listing`, `snapshots`, `pruning`    what a transaction has beside records
    `team`        all of these as one reader and one transaction
    `mirror`      the change feed and the commands of the mirror, which meets the ledger here and nowhere else
    `runs`, `config`    the files that the core reads

Rules
    - Any engine passes `tests/ledger_suite/`, `tests/team_suite/` and `tests/mirror_port_suite/`.
    - A method names the errors that it raises, and what its cost must not grow with.
"""
