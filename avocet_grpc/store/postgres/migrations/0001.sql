-- What several servers need beside the ledger's own tables (store/sql/schema.py).
CREATE TABLE servers (server text COLLATE "C" PRIMARY KEY, last_group bigint NOT NULL, seen_at bigint NOT NULL);
CREATE TABLE settings (name text COLLATE "C" PRIMARY KEY, value text COLLATE "C" NOT NULL);
CREATE TABLE keeper (
    holder text COLLATE "C" NOT NULL, host text COLLATE "C" NOT NULL, directory text COLLATE "C" NOT NULL,
    files_id text COLLATE "C" NOT NULL, epoch bigint NOT NULL, seen_at double precision NOT NULL,
    until double precision NOT NULL, release_wanted boolean NOT NULL
);
INSERT INTO keeper VALUES ('', '', '', '', 0, 0, 0, false);
-- A counted text may be longer than an entry of an index.
ALTER TABLE counters DROP CONSTRAINT counters_pkey;
CREATE UNIQUE INDEX counters_key ON counters (name, left(value, 250), hashtextextended(value, 0));
-- Rows that each commit changes: room for their next version on the same page.
ALTER TABLE head SET (fillfactor = 10);
ALTER TABLE counters SET (fillfactor = 20);
ALTER TABLE servers SET (fillfactor = 20);
ALTER TABLE keeper SET (fillfactor = 20);
-- Lines and examples are read whole: neither compressed nor looked up twice.
ALTER TABLE bodies ALTER COLUMN raw SET STORAGE EXTERNAL;
ALTER TABLE examples ALTER COLUMN encoded SET STORAGE EXTERNAL;
ALTER TABLE bodies SET (toast_tuple_target = 8160);
ALTER TABLE examples SET (toast_tuple_target = 8160);
