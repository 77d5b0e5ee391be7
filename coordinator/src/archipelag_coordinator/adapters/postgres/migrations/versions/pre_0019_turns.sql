CREATE INDEX jobs_in_line ON jobs (home, user_id, cargo_digest, priority DESC, created_at, id) WHERE status = 'queued';
CREATE INDEX jobs_running ON jobs (user_id, cargo_digest) WHERE status = 'running';
DROP INDEX jobs_waiting;
