"""The mirror: it keeps the two shared files level with the ledger, in both directions.

It follows the ledger: it reads the change feed and writes what changed into the files. What other programs did to the
files goes back to the ledger as commands (`core.ports.mirror`). Its own index, `.avocet/mirror.db`, knows which line
stands where; it can be rebuilt from the files and the ledger.

Life cycle, in a process of its own
    mirror = Mirror(ledger, data_dir, Disk(), Clock(), observer)
    mirror.adopt()                      # before the service listens: both files are compared with the ledger
    while not told_to_stop:
        level = mirror.round()          # foreign changes in, then ours out; call it after commits and every 0.25 s
    clean = mirror.stop(timeout)        # level, compacted and synced

May import
    `core`, `layout`, `durable`, `telemetry`. No gRPC, no wire message, nothing of `store`.

Reading order
    `mirror`, `shared_file`    both files and their life cycle; one round for one file
    `image`                    all that is known of one file: an immutable value with named transitions
    `lines`                    the rows of the index, and `effective`, which says which line of an id counts
    `set_aside`                lines at which our own code fails
    `index`, `index_database`, `index_rows`    `mirror.db`; `session` is what all parts of one file work with
    `feed`                     what the ledger has and the file still lacks
    `inbound/`, `outbound/`, `displaced/`, `fs/`    in, out, files that were moved aside, system calls

Rules
    - In before out: each write looks at the file's signature again. Every step is safe to repeat after a kill.
    - Nobody assigns to another object's attribute, and only `fs/` touches the shared files or asks for the time.
"""
