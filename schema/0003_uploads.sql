-- Uploads that can be resumed, in any process. A version that does not have these tables may serve at the
-- same time: it does not know of such uploads, and what they have published are files like any other.

-- An upload that was started and has not been forgotten yet: unfinished, or published, so that a client
-- that has not seen the response finds out. A process deletes the row some time after expires_at. A
-- request that goes on with the upload raises epoch first; whatever it writes about the upload requires
-- that nobody has raised it since. Times are UTC.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    owner TEXT NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 1,
    expires_at TIMESTAMP NOT NULL,
    -- Where it will be published. The namespace is the one of that name that was created at that time: it
    -- may have been deleted since, so this is no foreign key.
    namespace TEXT NOT NULL,
    namespace_created_at TIMESTAMP NOT NULL,
    namespace_owner TEXT,
    path TEXT NOT NULL,
    -- The deepest folder above path that existed when the upload was started, empty for the namespace.
    folder TEXT NOT NULL,
    -- What must be at path: nothing (absent; exclusive if the client did not ask for it by a condition),
    -- something (present), or a file of one of these versions.
    absent BOOLEAN NOT NULL,
    exclusive BOOLEAN NOT NULL,
    present BOOLEAN NOT NULL,
    versions TEXT[],
    -- Bytes of the file, NULL while the client has not said it; how many of them were received and are
    -- durable; and the SHA-256 that all of them must have.
    size BIGINT,
    received BIGINT NOT NULL DEFAULT 0 CHECK (received >= 0 AND received <= size),
    digest BYTEA,
    -- What the client calls the file, as it said it, and the id by which its progress is watched.
    metadata TEXT NOT NULL,
    transfer TEXT NOT NULL,
    -- Whether it may have been published, although that was not recorded.
    publishing BOOLEAN NOT NULL DEFAULT false,
    -- Whether what was at path, or a folder above it, was moved while that was so.
    moved BOOLEAN NOT NULL DEFAULT false,
    -- The version that was published, and whether nothing is left in the store but that.
    published TEXT,
    cleared BOOLEAN NOT NULL DEFAULT false,
    -- When a process has last started to free what has expired.
    swept_at TIMESTAMP
);
CREATE INDEX uploads_open ON uploads (owner) WHERE published IS NULL;
CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_publishing ON uploads (namespace) WHERE publishing;

-- The bytes of unfinished uploads, where the store has them in several places: size bytes from the byte
-- starts on are where token says.
CREATE TABLE upload_parts (
    upload TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    starts BIGINT NOT NULL,
    size BIGINT NOT NULL CHECK (size > 0),
    token TEXT NOT NULL,
    PRIMARY KEY (upload, starts)
);

-- What a process may be storing for an upload, and is in none of its parts yet: so that it is freed also
-- if that process is killed.
CREATE TABLE upload_reservations (
    upload TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    token TEXT NOT NULL,
    PRIMARY KEY (upload, token)
);
