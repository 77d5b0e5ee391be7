-- A version from before is the network's own: no owner, full trust, and signed by the network's Ed25519 key alone.
ALTER TABLE cargos
    ADD COLUMN owner_id         text COLLATE "C" REFERENCES users, -- null: the network's operator
    ADD COLUMN reference        text NOT NULL DEFAULT '',
    ADD COLUMN cosign_payload   bytea,
    ADD COLUMN cosign_signature bytea,
    ADD COLUMN cosign_key       bytea,
    ADD COLUMN trust            smallint NOT NULL DEFAULT 3 CHECK (trust BETWEEN 0 AND 3),
    ADD COLUMN checks           jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN reviewed_at      timestamptz,
    ADD COLUMN reviewed_by      text COLLATE "C" REFERENCES users, -- null with a time: the operator
    ADD COLUMN review_reason    text NOT NULL DEFAULT '',
    ADD CONSTRAINT cargos_cosigned_whole CHECK
        (num_nulls(cosign_payload, cosign_signature, cosign_key) IN (0, 3)),
    ADD CONSTRAINT cargos_signed CHECK (signature <> '' OR cosign_signature IS NOT NULL),
    DROP CONSTRAINT cargos_status_check,
    ADD CONSTRAINT cargos_status_check CHECK (status IN
        ('submitted', 'verified', 'listed', 'withdrawn', 'rejected', 'revoked'));
CREATE INDEX cargos_of_owner ON cargos (owner_id, id DESC) WHERE owner_id IS NOT NULL;
CREATE INDEX cargos_of_status ON cargos (status, id DESC);

-- What a version is made of, as the checks found it; apart, since the listing is read every second.
CREATE TABLE cargo_sboms (
    cargo_id bigint PRIMARY KEY REFERENCES cargos,
    sbom     bytea NOT NULL
);

-- Who published a name first has it for ever. Taken by the trigger below, so that the last release's code takes it too.
CREATE TABLE slugs (
    slug     text PRIMARY KEY,
    owner_id text COLLATE "C" REFERENCES users
);
INSERT INTO slugs (slug) SELECT DISTINCT slug FROM cargos;

CREATE FUNCTION take_slug() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO slugs (slug, owner_id) VALUES (NEW.slug, NEW.owner_id) ON CONFLICT DO NOTHING;
    IF EXISTS (
        SELECT FROM slugs WHERE slug = NEW.slug AND owner_id IS DISTINCT FROM NEW.owner_id
    ) THEN
        RAISE EXCEPTION 'the name % is another publisher''s', NEW.slug
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'slugs_owner';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER slugs_owner BEFORE INSERT ON cargos FOR EACH ROW EXECUTE FUNCTION take_slug();

-- What is signed never changes under a digest, and who was turned away or revoked never comes back.
CREATE FUNCTION refuse_changed_cargo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.slug, OLD.digest, OLD.manifest, OLD.signature, OLD.public_key, OLD.owner_id, OLD.reference, OLD.created_at)
        IS DISTINCT FROM
       (NEW.slug, NEW.digest, NEW.manifest, NEW.signature, NEW.public_key, NEW.owner_id, NEW.reference, NEW.created_at)
       OR (OLD.cosign_signature IS NOT NULL AND
           (OLD.cosign_payload, OLD.cosign_signature, OLD.cosign_key)
           IS DISTINCT FROM (NEW.cosign_payload, NEW.cosign_signature, NEW.cosign_key))
    THEN
        RAISE EXCEPTION 'what was signed of Cargo % never changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'cargos_immutable';
    END IF;
    IF OLD.status <> NEW.status AND NOT (NEW.status = ANY (CASE OLD.status
        WHEN 'submitted' THEN ARRAY['verified', 'listed', 'rejected', 'revoked']
        WHEN 'verified' THEN ARRAY['listed', 'rejected', 'revoked']
        WHEN 'listed' THEN ARRAY['withdrawn', 'revoked']
        WHEN 'withdrawn' THEN ARRAY['listed', 'revoked']
        ELSE ARRAY[]::text[] END))
    THEN
        RAISE EXCEPTION 'a % Cargo cannot become %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'cargos_moves';
    END IF;
    -- The operator's own are verified and listed in one go; those of others never without every check.
    IF OLD.status = 'submitted' AND NEW.status = 'listed' AND NEW.owner_id IS NOT NULL THEN
        RAISE EXCEPTION 'Cargo % was not verified', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'cargos_moves';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cargos_guarded BEFORE UPDATE ON cargos FOR EACH ROW EXECUTE FUNCTION refuse_changed_cargo();

-- The signed documents that Islands hold: each version once, rising by one, kept so that it can be shown later.
CREATE TABLE catalogue_documents (
    version    bigint PRIMARY KEY CHECK (version >= 1),
    document   bytea NOT NULL,
    contents   bytea NOT NULL CHECK (octet_length(contents) = 32),
    issued_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > issued_at)
);
CREATE FUNCTION refuse_version_gap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <> (SELECT coalesce(max(version), 0) + 1 FROM catalogue_documents) THEN
        RAISE EXCEPTION 'catalogue version % does not follow the newest', NEW.version
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'catalogue_rises';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER catalogue_rises BEFORE INSERT ON catalogue_documents
    FOR EACH ROW EXECUTE FUNCTION refuse_version_gap();
CREATE TRIGGER catalogue_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON catalogue_documents
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- Two more words for why an attempt ended. Rows that stand were checked against fewer, so none need be read again.
ALTER TABLE usage DROP CONSTRAINT usage_cause_known, ADD CONSTRAINT usage_cause_known CHECK (cause IN
    ('completed', 'cancelled', 'cargo_failed', 'cargo_died', 'cargo_stalled', 'limit_exceeded',
     'bad_input', 'lease_lost', 'island_stopped', 'refused', 'deadline', 'bad_output',
     'no_capacity', 'coordinator_lost', 'cargo_withdrawn', 'cargo_revoked')) NOT VALID;
