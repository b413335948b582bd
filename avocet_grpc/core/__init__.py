"""The product: what a decision, an import or an export means, as plain functions and frozen dataclasses.

Owns
    Every rule about records: which line is a record, what a decision writes into it, which records are exported, how
    long the past is kept. A command such as `review.submit` is one function; it reads, decides and writes inside one
    transaction, so nothing changes between the reading and the writing.

May import
    The standard library, msgspec and xxhash. No gRPC, no SQL, no file, no thread.

Reading order
    `model`       the nouns: Candidate, Decision, ExportSelection, ...
    `record`      a line of a shared file and the record in it; `forms` says what a record means
    `ports`       what the core asks of the ledger, the benchmark runs and the config file
    `review`      submit and undo; then `claims`, `ingest`, `imports`, `queue`, `export`, `snapshots`, `watch`
    `external`    the verdict on each line that another program wrote

Rules
    - An error of a call is a class of `errors`. `edge/status.py` gives it a code and a sentence.
    - A command may run more than once. It changes nothing outside its transaction.
    - Tokens that continue a list are made in `tokens` alone, bound to the request that they belong to.
"""
