"""What the core knows, as wire messages.

- `fields`: which values of a record fit a typed field, and what is left over.
- `messages`: one message of a conversation.
- `candidate`: a record for reviewers. Nothing of it is lost: what no typed field holds is in `extra_json`.
- `example`: an approved record for trainers, in strict JSON.
- `answers`: runs, counts, versions.

`core.forms` says what a record means; these modules only carry it onto the wire.
"""

from avocet_grpc.edge.convert.answers import (
    imported_message,
    run_message,
    stats_message,
    uploaded_message,
    version_message,
)
from avocet_grpc.edge.convert.candidate import candidate_message
from avocet_grpc.edge.convert.example import encode_example

__all__ = [
    "candidate_message",
    "encode_example",
    "imported_message",
    "run_message",
    "stats_message",
    "uploaded_message",
    "version_message",
]
