CREATE TABLE batches (
    id              text COLLATE "C" PRIMARY KEY,
    user_id         text COLLATE "C" NOT NULL REFERENCES users,
    key_id          text COLLATE "C" NOT NULL REFERENCES api_keys,
    cargo_id        bigint NOT NULL REFERENCES cargos,
    workload        text NOT NULL,
    total           integer NOT NULL CHECK (total BETWEEN 1 AND 100),
    merge           text NOT NULL CHECK (merge IN ('concat', 'flatten')),
    fail_mode       text NOT NULL CHECK (fail_mode IN ('best_effort', 'fail_fast')),
    max_parallelism integer NOT NULL CHECK (max_parallelism >= 1),
    priority        integer NOT NULL,
    created_at      timestamptz NOT NULL,
    status          text NOT NULL CHECK (status IN
        ('running', 'failing', 'cancelling', 'completed', 'failed', 'cancelled')),
    ended_at        timestamptz,
    error           text NOT NULL,
    idempotency_key text,
    request_hash    bytea NOT NULL,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL))
);
CREATE UNIQUE INDEX batches_idempotency ON batches (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX batches_unfinished ON batches (user_id) WHERE status IN ('running', 'failing', 'cancelling');

-- The job's id is chosen with the batch: whoever submits an member, and however often, there is one job.
CREATE TABLE batch_members (
    batch_id text COLLATE "C" NOT NULL REFERENCES batches,
    number   integer NOT NULL CHECK (number >= 0),
    job_id   text COLLATE "C" NOT NULL UNIQUE,
    input    bytea NOT NULL,
    status   text NOT NULL CHECK (status IN ('waiting', 'submitted', 'failed', 'cancelled')),
    error    text NOT NULL,
    PRIMARY KEY (batch_id, number)
) WITH (fillfactor = 80);

-- An member ends its waiting once.
CREATE FUNCTION guard_batch_member() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'waiting' OR (NEW.batch_id, NEW.number, NEW.job_id) IS DISTINCT FROM (OLD.batch_id, OLD.number, OLD.job_id)
    THEN
        RAISE EXCEPTION 'a % member of a batch cannot become %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER batch_members_guarded BEFORE UPDATE ON batch_members FOR EACH ROW EXECUTE FUNCTION guard_batch_member();
