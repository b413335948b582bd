"""The ledger in one SQLite database.

- `engine`: SqliteLedger, which puts the parts together
- `session`: a connection and its settings
- `writer`: one thread that commits whatever waits
- `turns`: which process may write, and whether others have the ledger open
- `failure`: what an error of SQLite means
"""
