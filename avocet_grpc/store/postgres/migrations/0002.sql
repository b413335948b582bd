-- A reviewer's name may be longer than an entry of an index. The claims of all reviewers are few enough to be read one by
-- one, which servers of the version before do from here on.
DROP INDEX claims_by_reviewer;
CREATE INDEX claims_by_reviewer ON claims (left(reviewer, 250), hashtextextended(reviewer, 0), expires_at);
-- The place of a running server whose directory was found not to have the files.
ALTER TABLE keeper ADD COLUMN refused text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE keeper ADD COLUMN refused_at double precision NOT NULL DEFAULT 0;
