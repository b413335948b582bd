-- A reviewer's name may be longer than an entry of an index. The claims of all reviewers are few enough to be read one by
-- one, which servers of the version before do from here on.
DROP INDEX claims_by_reviewer;
CREATE INDEX claims_by_reviewer ON claims (left(reviewer, 250), hashtextextended(reviewer, 0), expires_at);
