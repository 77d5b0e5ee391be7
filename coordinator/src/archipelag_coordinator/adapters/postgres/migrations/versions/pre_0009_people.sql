-- A browser's session is a key that lives in a cookie. The version before this one takes no such secret from anybody.
ALTER TABLE api_keys
    ADD COLUMN kind text NOT NULL DEFAULT 'key' CHECK (kind IN ('key', 'session')),
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD CONSTRAINT sessions_expire CHECK (kind = 'key' OR expires_at IS NOT NULL);

CREATE TABLE sign_ins (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32), -- of the secret, which stands in the mail only
    email      text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    next_path  text NOT NULL,
    used_at    timestamptz
);
CREATE INDEX sign_ins_expiring ON sign_ins (expires_at);

CREATE TABLE identities (
    issuer     text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_of_user ON identities (user_id);

-- `actor` references nothing: the log outlives whatever it tells of.
CREATE TABLE audit_log (
    number   bigint PRIMARY KEY CHECK (number >= 1),
    at       timestamptz NOT NULL,
    actor    text COLLATE "C" NOT NULL,
    act      text NOT NULL,
    subject  text NOT NULL,
    detail   text NOT NULL,
    previous bytea NOT NULL CHECK (octet_length(previous) = 32),
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32)
);
-- Where the log ends: its row is the lock of who writes, and tells when the newest entries are cut off.
CREATE TABLE audit_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint NOT NULL CHECK (number >= 0),
    hash   bytea NOT NULL CHECK (octet_length(hash) = 32)
);
INSERT INTO audit_head (number, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to' USING ERRCODE = 'integrity_constraint_violation',
        CONSTRAINT = 'audit_appends';
END
$$;
CREATE TRIGGER audit_log_appends BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_refuses();
CREATE TRIGGER audit_log_stays BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses();

-- An entry follows the one before it, whoever writes it.
CREATE FUNCTION audit_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    IF NEW.number <> head.number + 1 OR NEW.previous <> head.hash THEN
        RAISE EXCEPTION 'entry % does not follow entry %', NEW.number, head.number
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'audit_follows';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_log_follows BEFORE INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_follows();
