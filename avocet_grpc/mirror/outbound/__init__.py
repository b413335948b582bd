"""What changed in the ledger, on its way to a shared file.

Owns
    Planning what must be written and blanked for each id, the three ways to write it, and noting what was written.

May import
    `core`, `layout`, `telemetry`, and the rest of the mirror.

Reading order
    `outbox`          for one id: what must be written, what must be blanked
    `writer`          takes the cheapest way that applies
    `append`          new records, in one write of whole lines
    `patch`           changed or removed records, under a write lease
    `replace`, `build`    another file takes the place of the whole one; `reuse` lets a displaced file serve again
    `written`         what the index is told afterwards

Rules
    - A plain reader sees whole records at every moment, none missing and none twice. docs/shared-files.md says what
      holds on a file system without leases.
    - Every write compares the file's signature first; another program's change stops it, and the next round takes
      that change in first.
"""
