"""The ledger's SQL, shared by all engines.

- `dialect`: the few words that differ between engines, and what a session can do
- `schema`, `rows`: the tables, and their rows by name
- `queries`, `exports`, `filters`: what a `core.ports.ledger.Reader` asks
- `reader`: all of it, on one session
- `pending`, `transaction`: what a work changes, held in memory until its group commits
- `feed`, `commands`: the mirror's side, `core.ports.mirror`
"""
