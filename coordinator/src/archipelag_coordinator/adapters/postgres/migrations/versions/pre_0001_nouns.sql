-- Identifiers compare byte by byte: faster than a language's order, and the same on every machine.

CREATE TABLE users (
    id         text COLLATE "C" PRIMARY KEY,
    email      text NOT NULL,
    role       text NOT NULL CHECK (role IN ('user', 'operator', 'admin')),
    created_at timestamptz NOT NULL,
    suspended  boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX users_email ON users (lower(email));

CREATE TABLE api_keys (
    id              text COLLATE "C" PRIMARY KEY,
    user_id         text COLLATE "C" NOT NULL REFERENCES users,
    name            text NOT NULL,
    prefix          text NOT NULL,
    hash            bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    scopes          text[] NOT NULL CHECK (scopes <@ ARRAY['read', 'write'] AND scopes <> '{}'),
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz,
    expires_at      timestamptz,
    revoked_at      timestamptz,
    budget          bigint CHECK (budget >= 0),
    used            bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    rate_per_minute integer CHECK (rate_per_minute >= 1),
    CONSTRAINT within_budget CHECK (used <= budget)
) WITH (fillfactor = 70);
CREATE INDEX api_keys_of_user ON api_keys (user_id, created_at);

CREATE TABLE cargos (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug       text NOT NULL,
    digest     text COLLATE "C" NOT NULL UNIQUE,
    manifest   bytea NOT NULL, -- the canonical bytes: what is signed is what is kept
    signature  bytea NOT NULL,
    public_key bytea NOT NULL,
    status     text NOT NULL CHECK (status IN ('submitted', 'verified', 'listed', 'withdrawn', 'revoked')),
    created_at timestamptz NOT NULL
);
CREATE INDEX cargos_listed ON cargos (slug, id DESC) WHERE status = 'listed';

CREATE TABLE islands (
    id            text COLLATE "C" PRIMARY KEY,
    owner_id      text COLLATE "C" NOT NULL REFERENCES users,
    name          text NOT NULL,
    public_key    bytea NOT NULL UNIQUE CHECK (octet_length(public_key) = 32),
    status        text NOT NULL CHECK (status IN
        ('enrolled', 'ready', 'draining', 'silent', 'lost', 'suspended', 'retired', 'banned')),
    approved      boolean NOT NULL,
    created_at    timestamptz NOT NULL,
    region        text NOT NULL,
    capabilities  jsonb NOT NULL,
    boot_id       text NOT NULL,
    sequence      bigint NOT NULL,
    seen_at       timestamptz,
    offers        jsonb NOT NULL,
    slots         integer NOT NULL,
    broker_rtt_ms double precision NOT NULL,
    load          double precision NOT NULL,
    cut_off_at    timestamptz, -- since when it may not connect
    CHECK ((status IN ('suspended', 'retired', 'banned')) = (cut_off_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX islands_cut_off ON islands (public_key) WHERE cut_off_at IS NOT NULL;

CREATE TABLE pairing_codes (
    code       text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL REFERENCES users,
    expires_at timestamptz NOT NULL,
    used_by    text COLLATE "C"
);

CREATE TABLE jobs (
    id                text COLLATE "C" PRIMARY KEY,
    user_id           text COLLATE "C" NOT NULL REFERENCES users,
    key_id            text COLLATE "C" REFERENCES api_keys,
    cargo_id          bigint NOT NULL REFERENCES cargos,
    cargo_slug        text NOT NULL,
    cargo_digest      text COLLATE "C" NOT NULL,
    input             bytea NOT NULL,
    status            text NOT NULL CHECK (status IN
        ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    created_at        timestamptz NOT NULL,
    queue_until       timestamptz NOT NULL,
    deadline_at       timestamptz NOT NULL,
    home              text COLLATE "C" NOT NULL,
    reserved          bigint NOT NULL CHECK (reserved >= 0),
    prompt_tokens_max integer NOT NULL,
    output_items_max  integer NOT NULL,
    attempts_max      integer NOT NULL,
    priority          integer NOT NULL,
    interactive       boolean NOT NULL,
    idempotency_key   text,
    request_hash      bytea NOT NULL,
    epoch             integer NOT NULL CHECK (epoch >= 0),
    started_at        timestamptz,
    ended_at          timestamptz,
    delivered         integer NOT NULL CHECK (delivered >= 0),
    prompt_tokens     integer NOT NULL,
    output_items      integer NOT NULL,
    output            bytea, -- UTF-8; PostgreSQL's text cannot hold U+0000, an answer can
    finish_reason     text NOT NULL,
    cause             text,
    error             text NOT NULL,
    charged           bigint NOT NULL CHECK (charged BETWEEN 0 AND reserved),
    waiting_for       text[] NOT NULL,
    CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX jobs_idempotency ON jobs (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_of_user ON jobs (user_id, created_at DESC, id DESC);
CREATE INDEX jobs_same_request ON jobs (key_id, request_hash, created_at DESC) WHERE request_hash <> '';
CREATE INDEX jobs_waiting ON jobs (home, priority DESC, created_at, id) WHERE status = 'queued';
CREATE INDEX jobs_queue_until ON jobs (queue_until) WHERE status = 'queued';
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_home ON jobs (home) WHERE status IN ('queued', 'running');
CREATE INDEX jobs_succeeded ON jobs (id) WHERE status = 'succeeded';

CREATE TABLE attempts (
    job_id         text COLLATE "C" NOT NULL REFERENCES jobs,
    epoch          integer NOT NULL CHECK (epoch >= 1),
    island_id      text COLLATE "C" NOT NULL REFERENCES islands,
    relay          text COLLATE "C" NOT NULL,
    status         text NOT NULL CHECK (status IN
        ('assigned', 'running', 'succeeded', 'failed', 'refused', 'lost', 'cancelled')),
    assigned_at    timestamptz NOT NULL,
    lease_until    timestamptz NOT NULL,
    placement      jsonb NOT NULL,
    first_position integer NOT NULL CHECK (first_position >= 0),
    next_position  integer NOT NULL CHECK (next_position >= first_position),
    started_at     timestamptz,
    ended_at       timestamptz,
    cause          text,
    reason         text NOT NULL,
    usage          jsonb NOT NULL,
    report         bytea,
    PRIMARY KEY (job_id, epoch),
    CHECK ((status IN ('assigned', 'running')) = (ended_at IS NULL))
) WITH (fillfactor = 80);
-- Whatever goes wrong above, two Islands never hold the same job at once.
CREATE UNIQUE INDEX attempts_one_unfinished ON attempts (job_id) WHERE status IN ('assigned', 'running');
CREATE INDEX attempts_leases ON attempts (lease_until) WHERE status IN ('assigned', 'running');
CREATE INDEX attempts_held ON attempts (island_id) WHERE status IN ('assigned', 'running');

CREATE TABLE coordinators (
    relay   text COLLATE "C" PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- Not logged: a crash forgives everybody a minute's requests, and no request waits for the disk.
CREATE UNLOGGED TABLE rates (
    bucket   text COLLATE "C" PRIMARY KEY,
    drain_us bigint NOT NULL, -- how long one request takes to drain
    empty_at bigint NOT NULL, -- when the bucket is empty, in microseconds since 1970
    allowed  boolean NOT NULL -- whether the newest request went through
) WITH (fillfactor = 50);
