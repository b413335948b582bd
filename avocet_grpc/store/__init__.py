"""The ledger: the only room that knows SQL. It holds every acknowledged change, and knows records, not files.

Reading order
    `core/ports/ledger.py`   what the core and the edge ask of a ledger: read it first
    `core/ports/mirror.py`   what the mirror asks: a change feed out, commands in; `core/external.py` has the verdicts
    `sql/`                   tables, queries and transactions, shared by all engines
    `sqlite/`                the engine: connections, the writer, locks, upgrade, integrity, backup
    `export_cache.py`        keeps batches of whole exports; wraps any ledger

An example::

    ledger = SqliteLedger(DataDirectory(Path("data")), encode_example)
    candidate = ledger.read(lambda reader: reader.candidate("c1"))
    decided = ledger.write(partial(review.submit, decision=decision)).result()   # durable once it returns
    mirror = ledger.mirror()                                                      # core.ports.mirror.MirrorLedger
    ledger.close()

The life of a change
    1. `write(work)` queues the work. The writer thread takes all that wait and begins one transaction.
    2. It takes its turn among the processes (`sqlite/turns.py`), locks the database and reads the `head` row. The head
       gives the next revision and the next key, so commits, revisions and keys have one order, whoever writes.
    3. Each work runs on a `sql.transaction.SqlTransaction`. What it changes waits in `sql.pending.Pending`; a refused
       work's changes are dropped there.
    4. All rows go in with a few statements, the head is written, and COMMIT makes them durable. Then all are answered.

Tables (`sql/schema.py`)
    `head`       one row: revision, next key, the mirror's epoch, the ledger's incarnation, what is still kept
    `records`    one row for each file and id: the record, or the tombstone of one (no digest); `bodies` has the lines
    `examples`   encoded training examples, each seen by exports from one revision until another
    `past`       digests of contents that records had before, so that a stale rewrite is told from an edit
    `history`    who did what; `requests` the request_ids and their answers; `counters` what Stats tells at once
    `reports`    the mirror's last report on each file

When the storage fails
    A full disk refuses a change, and nothing of it is stored. Any other failed write or sync makes the outcome unknown:
    callers get StorageFailed, the ledger is not touched again, and the process ends (`sqlite/condition.py`).
"""
