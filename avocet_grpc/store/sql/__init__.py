"""The ledger's SQL, shared by all engines.

Owns
    Tables, rows, queries, what a transaction does, and the mirror's commands.

May import
    `core` and this room. No engine's driver: a statement runs on a `dialect.Session`.

Reading order
    `dialect`                the few words that differ between engines, and what a session can do
    `schema`, `rows`         the tables, and their rows by name
    `bodies`                 lines of records, as a session stores them
    `queries`, `queue`, `counts`, `examples`, `filters`, `listing`, `history`    what a reader asks
    `reader`                 all of it, on one session
    `pending`, `transaction` what a work changes, held in memory until its group commits
    `group`, `waiting`       the works of one commit, one after the other; those that wait for the next
    `room`                   how long a line a work may read
    `claims`, `waiting_claims`, `snapshots`, `pruning`       what a transaction has beside records
    `feed`, `mirror`         the mirror's side: `core.ports.mirror`
    `soundness`              whether what the ledger holds agrees with itself
    `loading`, `carry_over`  a whole file at the first start; what a rebuilt ledger takes from the old one

Rules
    - Parameters have names. A row is a NamedTuple whose fields are the columns selected, or a plain tuple.
    - A partial index serves a query that repeats its WHERE; `tests/store/test_ledger_plans.py` checks the plans.
"""
