CREATE TABLE conversations (
    id         text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    title      text NOT NULL,
    model      text NOT NULL,
    parameters jsonb NOT NULL,
    messages   integer NOT NULL CHECK (messages >= 0),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    made_by    text COLLATE "C",
    -- No stems and no stop words: people write in every language.
    words      tsvector GENERATED ALWAYS AS (to_tsvector('simple', title)) STORED
);
CREATE INDEX conversations_of_owner ON conversations (owner_id, updated_at DESC, id DESC);
CREATE UNIQUE INDEX conversations_made_by ON conversations (owner_id, made_by) WHERE made_by IS NOT NULL;

-- No reference to jobs, which may be pruned before what they said.
CREATE TABLE messages (
    conversation_id text COLLATE "C" NOT NULL REFERENCES conversations ON DELETE CASCADE,
    number          integer NOT NULL CHECK (number > 0),
    parent          integer NOT NULL CHECK (parent >= 0 AND parent < number),
    said            text NOT NULL CHECK (said IN ('user', 'assistant')),
    text            text NOT NULL,
    status          text NOT NULL CHECK (status IN ('writing', 'done', 'failed', 'cancelled')),
    created_at      timestamptz NOT NULL,
    job_id          text COLLATE "C",
    model           text NOT NULL,
    idempotency_key text COLLATE "C",
    figures         jsonb NOT NULL,
    error           text NOT NULL,
    -- Cut, for a document of words has a limit, and an answer should be kept whatever it says.
    words           tsvector GENERATED ALWAYS AS (to_tsvector('simple', left(text, 100000))) STORED,
    PRIMARY KEY (conversation_id, number)
);
CREATE INDEX messages_writing ON messages (job_id) WHERE status = 'writing';
CREATE INDEX messages_by_words ON messages USING gin (words);
