"""The ledger: it holds every acknowledged change, and knows records, not files.

Owns
    The ledger's tables and statements, both engines, and the copy of the examples that exports are sent from. One
    statement is elsewhere: `maintenance` reads the ledger's id.

May import
    `core`, `layout`, `durable`, `telemetry`. No gRPC, no wire message, nothing of the mirror.

Reading order
    `core/ports/ledger.py`   what the core and the edge ask of a ledger: read it first
    `core/ports/mirror.py`   what the mirror asks: a change feed out, commands in
    `sql/`                   tables, queries and transactions, shared by all engines
    `sqlite/`                one engine: connections, the writer, locks, upgrade, integrity, backup
    `postgres/`              another one, for several servers
    `examples/`              a copy of the examples, from which exports are sent; wraps any ledger

An example
    ledger = SqliteLedger(DataDirectory(Path("data")), encode_example)
    candidate = ledger.read(lambda reader: reader.candidate("c1"))
    decided = ledger.write(partial(review.submit, decision=decision)).result()   # durable once it returns

Rules
    - A commit takes its turn among the processes, locks the `head` row and holds it to the end. So commits, revisions
      and keys have one order, whichever process writes.
    - What a work changes is held in memory (`sql/pending.py`) until the commit, unless it is much, or a query needs it
      in the database before. A refused work leaves nothing.
    - A full disk refuses a change, and nothing of it is stored. If nobody knows what became of a commit, the process
      ends with SQLite (`sqlite/condition.py`); with PostgreSQL it connects again and looks (`postgres/writer.py`).
"""
