-- No heartbeat writes it, and a Coordinator that does not know it leaves it alone.
ALTER TABLE islands ADD COLUMN wishes jsonb;
ALTER TABLE islands ADD CONSTRAINT wishes_are_numbered
    CHECK (wishes IS NULL OR (wishes->>'version')::bigint > 0) NOT VALID;
