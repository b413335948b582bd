"""The Avocet corrections service.

docs/architecture.md is the map of this package. Imports point down only, and the map says which room may not know which
other one. At the bottom are small tools that import nothing of the service, such as `durable` and `foreign_files`.

Reading order
    `cli`, `processes`, `maintenance`    the command line, the processes, an operator's work
    `edge`, `mirror`                     gRPC; the two shared files
    `store`, `adapters`                  the ledger; other programs' files that the core reads
    `telemetry`                          logs, metrics, crash points
    `settings`, `layout`                 what can be set; the paths below the data directory that rooms share
    `core`                               the product, and in `core/ports` what it asks of its surroundings

To understand the service, begin with `core/model.py`, `core/ports/ledger.py` and `edge/servicer.py`.
"""

__version__ = "0.1.0"
