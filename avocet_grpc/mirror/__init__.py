"""The mirror: it keeps the two shared files level with the ledger, in both directions.

The mirror is a follower of the ledger, as a replica follows a primary. It reads the change feed and writes what changed
into the files. What other programs did to the files goes back to the ledger as commands (`core.ports.mirror`). Its own
index, `.avocet/mirror.db`, knows which line stands where. The index can be rebuilt from the file and the ledger.

Life cycle, in a process of its own:

    mirror = Mirror(ledger, data_dir, Disk(), Clock(), observer)
    mirror.adopt()                      # before the service listens: both files are compared with the ledger
    while not told_to_stop:
        level = mirror.round()          # foreign changes in, then ours out; call it every 0.25 s and after commits
    clean = mirror.stop(deadline)       # level, compacted and synced

Reading order:

- `mirror`: both files, their life cycle and what is reported of them.
- `shared_file`: one round for one file.
- `image`: all that is known of one file, as an immutable value with named transitions.
- `lines`: the rows of the index, and the one function that says which line of an id counts.
- `index`: `mirror.db`; `index_database`: its tables.
- `feed`: what the ledger has and the file still lacks.
- `inbound/`: what others did. `look` decides what a look at the file means, `tail` imports what was appended,
  `reconcile` compares a rewritten file, `first_start` and `without_index` take a file in that the index does not know,
  `verdicts` turns what the ledger decided into rows.
- `outbound/`: what we write. `outbox` plans it for each id, `append`, `patch` and `replace` are the three ways to write
  it, `reuse` lets a displaced file serve again.
- `displaced/`: files that a replacement took away, and which others may still write to.
- `fs/`: the only modules here that make system calls or ask for the time.

In before out: a round first takes in what others did, and each write checks the file's signature again. Every step is
safe to repeat, so that a kill between a write to the file, a command to the ledger and a commit of the index loses
nothing.
"""
