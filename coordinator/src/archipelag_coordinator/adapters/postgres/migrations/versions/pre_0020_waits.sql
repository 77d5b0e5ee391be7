-- A Coordinator that does not know it leaves it empty: no such time was asked for.
ALTER TABLE jobs ADD COLUMN due_at timestamptz;
-- As jobs_in_line, whoever's they are: lines are counted from the index alone.
CREATE INDEX jobs_line ON jobs (user_id, cargo_digest, priority DESC, created_at, id) WHERE status = 'queued';
