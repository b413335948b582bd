"""The tables of the ledger, version 4: records, and nothing of files.

Lines and encoded examples stay out of what queries scan. Indexes of the queue end with what a filter asks for, so that
what it leaves out is passed over without a look at its row. Partial indexes are used only by queries that repeat their
WHERE, which `tests/store/test_ledger_plans.py` checks.
"""

from __future__ import annotations

from collections.abc import Iterator

from avocet_grpc.store.sql.dialect import Dialect

VERSION = 4

WHOLE_NUMBERS = "digests_of_whole_numbers"
"""The row of `meta` of a ledger whose records' digests say that 1 and 1.0 are the same."""

TABLES = (
    "CREATE TABLE meta (name {text} PRIMARY KEY, value BIGINT NOT NULL)",
    """CREATE TABLE head (revision BIGINT NOT NULL, next_key BIGINT NOT NULL, mirror_epoch BIGINT NOT NULL,
        incarnation {text} NOT NULL, first_revision BIGINT NOT NULL, pruned_revision BIGINT NOT NULL)""",
    """CREATE TABLE records (
        key {row_number}, file INTEGER NOT NULL, id {text} NOT NULL, status {text}, task_type {text},
        model_name {text}, source {text}, benchmark_run_id {text}, failure_category {text}, label {text},
        task_id {text}, quality_score DOUBLE PRECISION, recorded_at {text}, reviewed_at {text}, prompt_digest {blob},
        queued INTEGER NOT NULL, exported INTEGER NOT NULL, unexportable {text}, revision BIGINT NOT NULL,
        made_by INTEGER NOT NULL, lives INTEGER NOT NULL, digest {blob}, removed_revision BIGINT NOT NULL,
        facet BIGINT NOT NULL, body BIGINT NOT NULL)""",
    "CREATE TABLE bodies (key {row_number}, size INTEGER NOT NULL, raw {blob} NOT NULL)",
    "CREATE TABLE dictionaries (number {row_number}, content {blob} NOT NULL)",
    """CREATE TABLE examples (
        number {counted}, key BIGINT NOT NULL, approved_revision BIGINT NOT NULL, removed_revision BIGINT NOT NULL,
        id {text} NOT NULL, shard_hash BIGINT NOT NULL, task_type {text}, model_name {text}, source {text},
        benchmark_run_id {text}, failure_category {text}, label {text}, task_id {text},
        quality_score DOUBLE PRECISION, prompt_digest {blob}, encoded {blob} NOT NULL)""",
    """CREATE TABLE past (
        id {text} NOT NULL, file INTEGER NOT NULL, digest {blob} NOT NULL, revision BIGINT NOT NULL,
        made_by INTEGER NOT NULL, PRIMARY KEY (id, file, digest)){clustered}""",
    """CREATE TABLE history (
        number {counted}, revision BIGINT NOT NULL, file INTEGER NOT NULL, id {text} NOT NULL,
        action {text} NOT NULL, actor {text} NOT NULL, at {text} NOT NULL, status_before {text}, status_after {text},
        change {text}, made_by INTEGER NOT NULL)""",
    """CREATE TABLE requests (
        principal {text} NOT NULL, request_id {text} NOT NULL, digest {blob} NOT NULL, answer {text} NOT NULL,
        at BIGINT NOT NULL, PRIMARY KEY (request_id, principal))""",
    """CREATE TABLE counters (
        name {text} NOT NULL, value {text} NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (name, value)){clustered}""",
    """CREATE TABLE facets (
        combination {blob} NOT NULL PRIMARY KEY, facet BIGINT NOT NULL, file INTEGER NOT NULL, status {text},
        task_type {text}, model_name {text}, source {text}, benchmark_run_id {text}, failure_category {text},
        label {text}, queued INTEGER NOT NULL, exported INTEGER NOT NULL, unexportable {text}, n BIGINT NOT NULL
        ){clustered}""",
    """CREATE TABLE reports (
        file INTEGER PRIMARY KEY, level_revision BIGINT NOT NULL, level_key BIGINT NOT NULL, malformed BIGINT NOT NULL,
        duplicate_ids BIGINT NOT NULL, pending BIGINT NOT NULL, behind_since DOUBLE PRECISION NOT NULL,
        clean INTEGER NOT NULL)""",
    """CREATE TABLE claims (
        key {row_number}, lease_id {text} NOT NULL, reviewer {text} NOT NULL, principal {text} NOT NULL,
        expires_at BIGINT NOT NULL)""",
    """CREATE TABLE postponed (
        reviewer {text} NOT NULL, key BIGINT NOT NULL, until BIGINT NOT NULL,
        PRIMARY KEY (reviewer, key)){clustered}""",
    """CREATE TABLE snapshots (
        number {counted}, name {text} NOT NULL, revision BIGINT NOT NULL, note {text} NOT NULL,
        created_by {text} NOT NULL, created_at {text} NOT NULL, example_count BIGINT NOT NULL,
        deleted_at DOUBLE PRECISION NOT NULL)""",
    "CREATE TABLE moments (at DOUBLE PRECISION PRIMARY KEY, revision BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX claims_by_lease ON claims (lease_id)",
    "CREATE INDEX claims_by_reviewer ON claims (reviewer, expires_at)",
    "CREATE INDEX claims_by_end ON claims (expires_at)",
    "CREATE INDEX postponed_by_end ON postponed (until)",
    "CREATE UNIQUE INDEX snapshots_by_name ON snapshots (name) WHERE deleted_at = 0",
    "CREATE INDEX requests_by_time ON requests (at)",
    "CREATE INDEX past_by_revision ON past (revision)",
    "CREATE INDEX records_removed ON records (revision) WHERE lives = 0",
    "CREATE UNIQUE INDEX records_by_id ON records (id, file)",
)

LATE_INDEXES = {
    "records_changed": "CREATE INDEX records_changed ON records (file, revision, key)",
    "records_by_prompt": (
        "CREATE INDEX records_by_prompt ON records (prompt_digest, file) WHERE file = 0 AND prompt_digest IS NOT NULL"
    ),
    "records_by_key": "CREATE INDEX records_by_key ON records (key) WHERE file = 0 AND lives = 1",
    "records_by_status": (
        "CREATE INDEX records_by_status ON records (status, key) WHERE file = 0 AND lives = 1 AND queued = 0"
    ),
    "records_by_time": ("CREATE INDEX records_by_time ON records (recorded_at, key) WHERE file = 0 AND lives = 1"),
    "records_by_quality": (
        "CREATE INDEX records_by_quality ON records (quality_score, key) WHERE file = 0 AND lives = 1"
    ),
    "records_by_review": (
        "CREATE INDEX records_by_review ON records (reviewed_at, key)"
        " WHERE file = 0 AND lives = 1 AND (queued = 0 OR reviewed_at IS NOT NULL)"
    ),
    "examples_by_approval": "CREATE INDEX examples_by_approval ON examples (approved_revision)",
    "examples_removed": (
        "CREATE INDEX examples_removed ON examples (removed_revision) WHERE removed_revision < 9223372036854775807"
    ),
    "queue_by_key": "CREATE INDEX queue_by_key ON records (key) WHERE queued = 1",
    "queue_by_time": "CREATE INDEX queue_by_time ON records (recorded_at, key, facet, queued) WHERE queued = 1",
    "queue_by_quality": (
        "CREATE INDEX queue_by_quality ON records (quality_score, key, facet, queued) WHERE queued = 1"
    ),
    "queue_by_facet": "CREATE INDEX queue_by_facet ON records (facet, key) WHERE queued = 1",
    "examples_shown": "CREATE INDEX examples_shown ON examples (key) WHERE removed_revision = 9223372036854775807",
    "history_by_id": "CREATE INDEX history_by_id ON history (id, number)",
}
"""Those that a large load does without until its end.

Those by status and by review leave out what the queue's indexes have: a decision that takes a candidate out of review
then changes two places fewer.
"""


def statements(dialect: Dialect) -> Iterator[str]:
    """Yield what makes an empty ledger."""
    for statement in (*TABLES, *LATE_INDEXES.values()):
        yield statement.format(
            text=dialect.text,
            blob=dialect.blob,
            row_number=dialect.row_number,
            counted=dialect.counted,
            clustered=dialect.clustered,
        )
