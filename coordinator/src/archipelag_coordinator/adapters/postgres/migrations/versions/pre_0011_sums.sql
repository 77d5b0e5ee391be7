-- Written once for each job, in the statement that changes its status and so writes to other indexes anyway.
CREATE INDEX jobs_ended ON jobs (user_id, ended_at) WHERE ended_at IS NOT NULL;
