"""The ledger in one SQLite database, for any number of processes on one machine.

Owns
    Connections and their settings, the thread that commits, locks among processes, and what SQLite's errors mean.

May import
    `store.sql`, `core`, `layout`, `durable`, `telemetry`, sqlite3 and zstandard.

Reading order
    `engine`                 SqliteLedger, which puts the parts together
    `session`                a connection as the shared statements use it
    `gate`                   reads follow one another, as long as they are short
    `compression`, `learning`    lines and examples as they are stored, and the dictionaries for it
    `writer`                 one thread that commits whatever waits
    `turns`                  which process may write, and whether others have the ledger open
    `failure`, `condition`   what an error means; whether the storage still works
    `opening`, `floor`       what an opened database must be, and the revision that a new ledger begins with
    `search_index`           the index of texts of `serve --search`, in a database of its own
    `digests`                records that were stored when 1 and 1.0 were two contents
    `integrity`, `seal`, `inspect`    whether the ledger is what the service wrote
    `backup`, `upgrade`, `version_3`  copies, and ledgers of the version before

Rules
    - `synchronous=FULL`: an answer comes after its sync. A sync that failed is never tried again.
    - In this room only `failure` looks at SQLite's error codes to decide what is refused and what is unknown.
"""
