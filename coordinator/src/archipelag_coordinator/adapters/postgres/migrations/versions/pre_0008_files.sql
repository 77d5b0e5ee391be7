-- Where bytes stand. A row comes before its bytes and goes after them, so that none are ever forgotten.
CREATE TABLE blobs (
    id         text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL,
    state      text NOT NULL CHECK (state IN ('uploading', 'stored', 'leaving')),
    created_at timestamptz NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256     text COLLATE "C" NOT NULL,
    sums       bytea NOT NULL,
    job_id     text COLLATE "C",
    epoch      integer NOT NULL,
    name       text NOT NULL,
    media_type text NOT NULL,
    CONSTRAINT blobs_whole CHECK (state <> 'stored' OR length(sha256) = 64)
);
-- Chance: packing it would cost time and save nothing.
ALTER TABLE blobs ALTER COLUMN sums SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX blobs_by_content ON blobs (sha256) WHERE state = 'stored';
CREATE UNIQUE INDEX blobs_being_written ON blobs (job_id, epoch, name)
    WHERE state = 'uploading' AND job_id IS NOT NULL;
CREATE INDEX blobs_uploading ON blobs (owner_id) WHERE state = 'uploading';
CREATE INDEX blobs_unsettled ON blobs (state, created_at) WHERE state <> 'stored';

CREATE TABLE files (
    id         text COLLATE "C" PRIMARY KEY,
    owner_id   text COLLATE "C" NOT NULL REFERENCES users,
    blob_id    text COLLATE "C" NOT NULL REFERENCES blobs,
    name       text NOT NULL,
    purpose    text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256     text COLLATE "C" NOT NULL CHECK (length(sha256) = 64),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    job_id     text COLLATE "C",
    epoch      integer NOT NULL
);
CREATE INDEX files_of_owner ON files (owner_id, created_at DESC, id DESC);
CREATE INDEX files_of_blob ON files (blob_id);
CREATE UNIQUE INDEX files_of_job ON files (job_id, epoch, name) WHERE job_id IS NOT NULL;
CREATE INDEX files_expiring ON files (expires_at);

-- What a job reads: kept for it though the file itself is deleted meanwhile.
CREATE TABLE job_files (
    job_id     text COLLATE "C" NOT NULL REFERENCES jobs,
    file_id    text COLLATE "C" NOT NULL,
    blob_id    text COLLATE "C" NOT NULL REFERENCES blobs,
    name       text NOT NULL,
    media_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256     text COLLATE "C" NOT NULL,
    PRIMARY KEY (job_id, file_id)
);
CREATE INDEX job_files_of_blob ON job_files (blob_id);
