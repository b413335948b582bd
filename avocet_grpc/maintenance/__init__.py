"""What an operator does to a data directory: lock, back up, verify, rebuild, move, take over.

Owns
    The lock that keeps a second service out, and the keeper's lease of the files. The work behind `avocet-grpc backup`,
    `verify`, `rebuild`, `store copy` and `keeper take-over`.

May import
    `store`, `mirror`, `layout`, `core`, `telemetry`, `durable`, `wording`, and `edge.convert` to encode examples. This
    room and `processes` alone open both the ledger and the files.

Reading order
    `lock`                one service for each data directory
    `private_directory`   refuses a `.avocet` that is not the service's own
    `files_id`            the id that a directory shares with its ledger, if that is in a database
    `keeping`             the lease of the files of a ledger in a database, as its holder has it
    `take_over`           writes the files of such a ledger into another directory
    `backup`              copies the ledger at one moment, then the files
    `comparison`          one file compared by the mirror's own planner, on a copy of its index
    `rehearsal`           what the ledger would say to the mirror's commands; nothing is stored
    `verify`, `verify_store`    the report of that comparison and of the ledger's soundness
    `move`                the ledger of a stopped service into a database
    `rebuild`             a new ledger from the files, with what the old one can still give
    `replacement`         how it takes the place of the old one; a start finishes what was cut off

Rules
    - `verify` changes nothing and runs beside a service. `rebuild` needs the directory for itself.
    - A ledger or a shared file that is replaced is kept under another name. An index is not: it can be made again.
"""
