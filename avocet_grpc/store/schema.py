"""The tables of the ledger, in SQL that SQLite and PostgreSQL both take.

Raw lines and encoded examples stay out of `lines`, which is what queries scan. Partial indexes are used only by
queries that repeat their WHERE, which `tests/store/test_query_plans.py` holds them to.
"""

from __future__ import annotations

VERSION = 3
NEVER = 2**63 - 1
"""`removed_revision` of an example that is still approved."""

SELECTED = "task_type, model_name, source, benchmark_run_id, failure_category, label, quality_score"
"""The columns that a CandidateFilter asks for, the same in `lines` and `examples`."""

LATE_INDEXES = {
    "lines_by_run": "CREATE INDEX lines_by_run ON lines (file, benchmark_run_id)",
    "queue_by_key": "CREATE INDEX queue_by_key ON lines (key) WHERE queued = 1",
    "queue_by_time": "CREATE INDEX queue_by_time ON lines (recorded_at, key) WHERE queued = 1",
    "queue_by_time_desc": "CREATE INDEX queue_by_time_desc ON lines (recorded_at DESC, key) WHERE queued = 1",
    "queue_by_quality": "CREATE INDEX queue_by_quality ON lines (quality_score, key) WHERE queued = 1",
    "queue_by_quality_desc": "CREATE INDEX queue_by_quality_desc ON lines (quality_score DESC, key) WHERE queued = 1",
    "examples_counted": (
        "CREATE INDEX examples_counted ON examples (key, approved_revision, removed_revision, shard_hash)"
    ),
    "lines_pending": "CREATE INDEX lines_pending ON lines (file, key) WHERE sync <> 0",
}
"""Those that a first look at a large file does without until its end."""

TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    """CREATE TABLE lines (
        key INTEGER PRIMARY KEY, file INTEGER NOT NULL, kind INTEGER NOT NULL, id TEXT, status TEXT,
        task_type TEXT, model_name TEXT, source TEXT, benchmark_run_id TEXT, failure_category TEXT, label TEXT,
        quality_score DOUBLE PRECISION, recorded_at TEXT, queued INTEGER NOT NULL, revision BIGINT NOT NULL,
        digest BLOB NOT NULL, sync INTEGER NOT NULL, position BIGINT, length BIGINT, file_digest BLOB,
        synced_at DOUBLE PRECISION NOT NULL)""",
    "CREATE TABLE bodies (key INTEGER PRIMARY KEY, raw BLOB NOT NULL)",
    """CREATE TABLE examples (
        key BIGINT NOT NULL, approved_revision BIGINT NOT NULL, removed_revision BIGINT NOT NULL, id TEXT NOT NULL,
        shard_hash BIGINT NOT NULL, task_type TEXT, model_name TEXT, source TEXT, benchmark_run_id TEXT,
        failure_category TEXT, label TEXT, quality_score DOUBLE PRECISION, encoded BLOB NOT NULL,
        PRIMARY KEY (key, approved_revision))""",
    """CREATE TABLE past (file INTEGER NOT NULL, id TEXT NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (file, id, digest))""",
    """CREATE TABLE history (
        revision BIGINT NOT NULL, file INTEGER NOT NULL, id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT NOT NULL,
        at TEXT NOT NULL, status TEXT, previous TEXT)""",
    """CREATE TABLE requests (request_id TEXT PRIMARY KEY, digest BLOB NOT NULL, answer TEXT NOT NULL,
        at BIGINT NOT NULL)""",
    """CREATE TABLE counters (name TEXT NOT NULL, value TEXT NOT NULL, n BIGINT NOT NULL,
        PRIMARY KEY (name, value))""",
    """CREATE TABLE files (file INTEGER PRIMARY KEY, device BIGINT NOT NULL, inode BIGINT NOT NULL,
        size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, ctime_ns BIGINT NOT NULL, scanned BIGINT NOT NULL,
        blank BIGINT NOT NULL)""",
    """CREATE TABLE durable (file INTEGER PRIMARY KEY, revision BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL)""",
    """CREATE TABLE displaced (file INTEGER NOT NULL, name TEXT NOT NULL, device BIGINT NOT NULL, inode BIGINT NOT NULL,
        size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, read_to BIGINT NOT NULL, PRIMARY KEY (file, name))""",
    "CREATE INDEX lines_by_id ON lines (file, id, kind)",
    "CREATE INDEX history_by_id ON history (id, revision)",
    *LATE_INDEXES.values(),
)
