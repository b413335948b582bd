"""The ledger in a PostgreSQL database, for any number of servers.

Owns
    Connections, the thread that commits, what became of a commit whose answer was lost, and what its errors mean.

May import
    `store.sql`, `core`, `telemetry`, and psycopg, which the extra `avocet-grpc[postgres]` brings.

Reading order
    `engine`                 PostgresLedger, which puts the parts together
    `writer`, `head`         one thread that commits whatever waits; the row that each commit locks
    `readers`, `reach`       the connections that calls read on; whether the database can be reached
    `silence`                a connection ends if its server takes what is sent and never answers
    `session`, `adapters`    a connection as the shared statements use it, and the values, U+0000 among them
    `connect`, `failure`     from a URL to a connection, without showing its password; what an error means
    `migrate`, `settings`    makes and upgrades the tables; which settings of the database are refused
    `wake`                   notices what other servers commit, by notifications and without them
    `keeper`, `config`       the lease of the shared files; the configuration that all servers share
    `integrity`              what `verify` asks of a ledger in a database
    `fill`                   takes a whole ledger of another engine into an empty database

Rules
    - Each commit locks the row of `head` first and holds it to its end, at READ COMMITTED. So commits, revisions and
      keys have one order. No advisory lock, and no sequence without that lock.
    - Each commit writes its number to `servers`. If the answer to a COMMIT is lost, the writer connects again, takes
      the lock, and looks for the number. The lock waits until the old transaction has ended. What is found stored is
      answered after one more commit: the first may have ended before the standby had it.
    - Nothing rests on a notification. Each commit sends one, and the head is looked at every 50 ms, or every 500 ms if
      notifications come.
"""
