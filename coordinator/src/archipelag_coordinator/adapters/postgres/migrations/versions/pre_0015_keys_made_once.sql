ALTER TABLE api_keys ADD COLUMN idempotency_key text;
CREATE UNIQUE INDEX api_keys_idempotency ON api_keys (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batches_of_user ON batches (user_id, created_at DESC, id DESC);
