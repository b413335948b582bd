"""A copy of the examples, from which exports are sent: derived data, made again from the ledger if it is not whole.

Owns
    The files below `layout.DataDirectory.examples`, in a temporary directory if there is no data directory, and the
    columns in memory by which exports choose.

May import
    `core`, `telemetry`, and of the store `sql/room.py` alone. It reads the ledger by `core/ports/examples.py`.

Reading order
    `ledger.py`    wraps any ledger: exports come from the copy, and a thread keeps it
    `store.py`     answers, follows the ledger, and stores what is new in the files
    `part.py`      the rows of one batch, and how their bytes are read
    `table.py`     the columns, the order, and what a selection chooses
    `splits.py`    the hashes by which splits choose
    `segment.py`   the files: appending, loading, reading
    `blocks.py`    where their blocks are, and which were checked
    `place.py`     the directories, one for each process
    `layout.py`    the rows in memory and in the file
    `numeric.py`   numpy, without threads of its own

Rules
    - An example's bytes never change, so they stand in the files. Which examples a revision has is asked of the ledger
      before an export answers.
    - A failed write, or a checksum that is wrong, is never an error of a call: the ledger has the bytes too.
    - A block counts once the row with its checksums (its seal) is written behind its rows. Nothing is synced.
"""
