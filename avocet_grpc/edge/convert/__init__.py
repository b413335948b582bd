"""Core nouns as wire messages.

Owns
    How a record, a run, a count or a version looks on the wire. `core.forms` says what a record means; these modules
    only carry it over.

May import
    `avocet_client.v1`, `core`, and `edge.enums`.

Reading order
    `fields`      which values of a record fit a typed field, and what is left over
    `messages`    one message of a conversation
    `candidate`   a record for reviewers; what no typed field holds is in `extra_json`, so nothing is lost
    `example`     an approved record for trainers, in strict JSON
    `answers`     runs, counts, versions

Rules
    - A lone surrogate is U+FFFD on the wire; the file keeps it.
    - An example's bytes depend on its record and on the revision of its approval. The ledger keeps them, and exports
      send them again.
"""

from avocet_grpc.edge.convert.answers import (
    imported_message,
    run_message,
    stats_message,
    uploaded_message,
    version_message,
)
from avocet_grpc.edge.convert.candidate import candidate_message, fill_candidate
from avocet_grpc.edge.convert.example import encode_example

__all__ = [
    "candidate_message",
    "encode_example",
    "fill_candidate",
    "imported_message",
    "run_message",
    "stats_message",
    "uploaded_message",
    "version_message",
]
