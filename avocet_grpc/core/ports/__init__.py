"""What one room needs of another one that it does not import, as protocols.

Owns
    The ledger as commands see it, and as the mirror sees it; what exports are sent from; the benchmark runs, the config
    file, the search of texts, and who keeps the files. A sentence with MUST is what each implementation has to keep.

May import
    `core.model`, `core.observer`, `core.lines` and each other. Nothing of another room.

Reading order
    `ledger`      reading, one transaction, and queueing a change; read it first
    `claims`, `history`, `listing`, `snapshots`, `pruning`    what a transaction has beside records
    `team`        all of these as one reader and one transaction
    `mirror`      the change feed and the commands of the mirror, which meets the ledger here and nowhere else
    `exports`, `examples`    what exports are sent from, and what that copy asks of the ledger
    `runs`, `config`, `search`, `keeper`    what the edge asks beside the ledger

Rules
    - Any engine passes `tests/ledger_suite/`, `tests/team_suite/` and `tests/mirror_port_suite/`.
    - A method names the errors that it raises; some name what their cost must not grow with.
"""
