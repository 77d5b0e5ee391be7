-- Double entry in whole micro-credits. What must hold is held here, whoever writes:
-- entries add up to zero, nothing posted is ever changed, and nobody but two named accounts owes.

CREATE TABLE accounts (
    id      text COLLATE "C" PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 0,
    held    bigint NOT NULL DEFAULT 0 CONSTRAINT held_not_negative CHECK (held >= 0),
    CONSTRAINT never_below_zero CHECK (
        balance - held >= 0 OR id IN ('platform:issuance', 'platform:grants')
    )
) WITH (fillfactor = 50); -- a hot account's new versions stay on its page

CREATE TABLE transfers (
    id     text COLLATE "C" PRIMARY KEY, -- made from the cause: what is posted twice stands once
    at     timestamptz NOT NULL,
    job_id text COLLATE "C",
    note   text NOT NULL
);

CREATE TABLE entries (
    transfer_id text COLLATE "C" NOT NULL REFERENCES transfers,
    account_id  text COLLATE "C" NOT NULL REFERENCES accounts,
    amount      bigint NOT NULL CHECK (amount <> 0),
    at          timestamptz NOT NULL,
    PRIMARY KEY (transfer_id, account_id)
);
CREATE INDEX entries_of_account ON entries (account_id, at DESC, transfer_id DESC);

CREATE TABLE reservations (
    job_id     text COLLATE "C" PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts,
    amount     bigint NOT NULL CHECK (amount >= 0),
    status     text NOT NULL CHECK (status IN ('pending', 'posted', 'voided', 'expired')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX reservations_pending ON reservations (expires_at) WHERE status = 'pending';

-- Every statement that writes entries writes whole transfers.
CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM written GROUP BY transfer_id HAVING sum(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'the entries of a transfer do not add up to zero'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'entries_balanced';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entries_balanced AFTER INSERT ON entries
    REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced();

-- At commit a transfer has its entries, and they balance.
CREATE FUNCTION refuse_hollow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM entries WHERE transfer_id = NEW.id) IS DISTINCT FROM 0 THEN
        RAISE EXCEPTION 'transfer % has no entries, or they do not add up to zero', NEW.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'transfers_balanced';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER transfers_balanced AFTER INSERT ON transfers
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_hollow();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never changed: post another transfer instead', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER entries_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER accounts_kept BEFORE DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reservations_kept BEFORE TRUNCATE ON reservations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A reservation ends once; what it holds and for whom never changes. Ended ones may be pruned.
CREATE FUNCTION guard_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'pending' AND TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'a pending reservation cannot be removed'
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    IF OLD.status <> 'pending' OR NEW.status = 'pending'
        OR (NEW.job_id, NEW.account_id, NEW.amount) IS DISTINCT FROM (OLD.job_id, OLD.account_id, OLD.amount)
    THEN
        RAISE EXCEPTION 'a % reservation cannot become %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reservations_guarded BEFORE UPDATE OR DELETE ON reservations
    FOR EACH ROW EXECUTE FUNCTION guard_reservation();
