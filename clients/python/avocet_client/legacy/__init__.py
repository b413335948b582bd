"""The legacy HTTP interface over the service, for programs that have not moved to gRPC; needs `avocet-client[web]`.

`/api/corrections/*` and `/api/sft/*` answer as the legacy service does: the same bodies and status codes.

Read in this order:

- `front.py` has the routes, each of which makes one call.
- `bodies.py` reads requests, and says what is wrong with one as the legacy service does.
- `records.py` makes raw records and pages of any size of the service's candidates.
- `cors.py` lets pages of stated origins call.
- `answers.py` has the one table from error to status code.
"""
