ALTER TABLE jobs
    ADD COLUMN cuts bytea NOT NULL DEFAULT '', -- lengths of the items of `output`, as domain/items.py packs them
    ADD COLUMN goes_on_unread boolean NOT NULL DEFAULT false,
    ADD COLUMN read_at timestamptz; -- when a Coordinator that is not its home last had a reader of it

-- What a running answer has said so far. Gone some time after the job has ended: then `jobs.output` says it all.
CREATE TABLE job_items (
    job_id         text COLLATE "C" NOT NULL REFERENCES jobs,
    first_position integer NOT NULL CHECK (first_position >= 0),
    texts          bytea NOT NULL, -- joined, UTF-8
    cuts           bytea NOT NULL, -- where each ends
    tokens         bytea NOT NULL, -- 32 bits each, lowest byte first; empty where all are 0
    PRIMARY KEY (job_id, first_position)
);
