"""The system calls and the time: nothing else of the mirror touches the shared files or a clock.

Owns
    Opening, reading, writing, syncing and exchanging files; leases; signatures; scanning lines in bounded memory.

May import
    The standard library, msgspec, xxhash, `core` and `durable`. The rest of the mirror imports this room, never the
    other way round.

Reading order
    `disk`           every system call, as a class that tests replace; `clock` likewise
    `signature`      device, inode, size and times of a file, and whether somebody writes it
    `scan`           a file line by line, however long a line is
    `fenced`         a disk that only the keeper of the files may change
    `lease`          while a write lease is held, every program that opens the file waits
    `exchange`       two files exchange their names, so that the old one can be read on
    `block_digests`  a digest of each 32 KB: whether a large file is still as it was noted

Rules
    - Tests replace `Disk` and `Clock`, and nothing else.
    - A file system without leases or without an exchange of names gets the slower way, not an error.
"""
