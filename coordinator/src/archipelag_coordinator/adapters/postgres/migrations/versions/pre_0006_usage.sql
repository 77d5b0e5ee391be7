-- Attempts that ended under an older version have no row here: they were settled then, and nothing is due for them.
-- Owners and Islands are taken from their own rows by the statements that write here; a foreign key to them would make all
-- settlements of one Island mark the same row again and again.

CREATE TABLE usage (
    job_id         text COLLATE "C" NOT NULL,
    epoch          integer NOT NULL,
    island_id      text COLLATE "C" NOT NULL,
    owner_id       text COLLATE "C" NOT NULL,
    cause          text NOT NULL CONSTRAINT usage_cause_known CHECK (cause IN
        ('completed', 'cancelled', 'cargo_failed', 'cargo_died', 'cargo_stalled', 'limit_exceeded',
         'bad_input', 'lease_lost', 'island_stopped', 'refused', 'deadline', 'bad_output',
         'no_capacity', 'coordinator_lost')),
    first_position integer NOT NULL CHECK (first_position >= 0),
    next_position  integer NOT NULL,
    prompt_tokens  integer NOT NULL CHECK (prompt_tokens >= 0),
    reread_tokens  integer NOT NULL CHECK (reread_tokens >= 0),
    wall_ms        bigint NOT NULL CHECK (wall_ms >= 0),
    at             timestamptz NOT NULL,
    PRIMARY KEY (job_id, epoch),
    FOREIGN KEY (job_id, epoch) REFERENCES attempts,
    CONSTRAINT usage_positions_in_order CHECK (next_position >= first_position)
);
CREATE INDEX usage_of_island ON usage (island_id, at DESC, job_id DESC, epoch DESC);

-- Which attempt a payment was for; `owed` is what the insurance was due and did not pay.
CREATE TABLE pays (
    job_id   text COLLATE "C" NOT NULL,
    epoch    integer NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('charge', 'insured', 'owed')),
    owner_id text COLLATE "C" NOT NULL,
    amount   bigint NOT NULL CHECK (amount > 0),
    at       timestamptz NOT NULL,
    PRIMARY KEY (job_id, epoch, kind)
);
CREATE INDEX pays_of_owner ON pays (owner_id, at);

-- One point is an hour of good work, counted in milliseconds: above zero for the Island, below against it.
CREATE TABLE karma_notes (
    island_id text COLLATE "C" NOT NULL,
    job_id    text COLLATE "C" NOT NULL,
    epoch     integer NOT NULL,
    kind      text NOT NULL CHECK (kind IN
        ('good_work', 'lease_lost', 'bad_output', 'cargo_died', 'cargo_stalled', 'refused_late')),
    points_ms bigint NOT NULL CHECK ((kind = 'good_work') = (points_ms > 0) AND points_ms <> 0),
    at        timestamptz NOT NULL,
    PRIMARY KEY (island_id, job_id, epoch)
);
CREATE INDEX karma_notes_newest ON karma_notes (island_id, at DESC, job_id DESC, epoch DESC);

CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER usage_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON usage
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER pays_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON pays
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER karma_notes_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON karma_notes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- What a charge paid to owners, and what the insurance paid, is exactly what its attempts were paid.
CREATE FUNCTION refuse_unexplained_pay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT job_id, owner_id FROM written WHERE kind <> 'owed') AS touched
        WHERE (
            SELECT coalesce(sum(amount), 0) FROM pays
            WHERE job_id = touched.job_id AND owner_id = touched.owner_id AND kind <> 'owed'
        ) > (
            SELECT coalesce(sum(e.amount), 0) FROM transfers t JOIN entries e ON e.transfer_id = t.id
            WHERE t.id IN (
                SELECT 'charge:' || touched.job_id UNION ALL
                SELECT 'insured:' || job_id || ':' || epoch FROM pays
                WHERE job_id = touched.job_id AND kind = 'insured'
            ) AND e.account_id = 'island_owner:' || touched.owner_id
        )
    ) THEN
        RAISE EXCEPTION 'more pay is written down than was transferred'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'pays_transferred';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pays_transferred AFTER INSERT ON pays
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unexplained_pay();
