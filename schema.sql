-- The tables of SFS, for PostgreSQL 13 and later: what the numbered files in schema/ make together. A
-- start applies those files (docs/operate.md, "The tables"), and a test holds that they make the same.
-- This file is to be read; and it makes the tables in an empty schema by hand, for a role that may
-- not make them itself.

BEGIN;

-- Which of the numbered files were applied, each once and in order. A number is never used again.
CREATE TABLE sfs_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
INSERT INTO sfs_migrations (number, name) VALUES (1, 'tables'), (2, 'usage'), (3, 'uploads');

-- created_at is UTC: every session of SFS sets its time zone to UTC.
CREATE TABLE namespaces (
    name TEXT PRIMARY KEY,
    hidden BOOLEAN DEFAULT false,
    created_at TIMESTAMP DEFAULT NOW(),
    owner TEXT
);

-- Says that a namespace is not what it was: the payload is its name, or '*' for all of them (a name
-- that does not fit into a payload, which has less than 8000 bytes, counts as all).
CREATE FUNCTION sfs_namespaces_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed TEXT[];
    one TEXT;
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY[NEW.name];
    ELSIF TG_OP = 'UPDATE' THEN
        changed := ARRAY[OLD.name, NEW.name];
    ELSIF TG_OP = 'DELETE' THEN
        changed := ARRAY[OLD.name];
    ELSE
        changed := ARRAY['*'];
    END IF;
    FOREACH one IN ARRAY changed LOOP
        PERFORM pg_notify(
            'sfs_namespaces', CASE WHEN octet_length(one) < 8000 THEN one ELSE '*' END
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER sfs_namespaces_row AFTER INSERT OR UPDATE OR DELETE ON namespaces
    FOR EACH ROW EXECUTE FUNCTION sfs_namespaces_changed();
CREATE TRIGGER sfs_namespaces_all AFTER TRUNCATE ON namespaces
    FOR EACH STATEMENT EXECUTE FUNCTION sfs_namespaces_changed();

-- For the list of namespaces: those that everyone sees, those of one owner, and all of them.
CREATE INDEX namespaces_shown ON namespaces (name COLLATE "C") WHERE hidden IS NOT TRUE;
CREATE INDEX namespaces_owned ON namespaces (owner, name COLLATE "C");
CREATE INDEX namespaces_named ON namespaces (name COLLATE "C");

-- The one key under which every process makes and opens links, of 244 random bits: a start makes the
-- row where there is none. Delete it, and all links end when the processes have been started again.
CREATE TABLE link_key (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    key BYTEA NOT NULL CHECK (octet_length(key) = 32)
);

-- Which store the files of these namespaces are in: its own id (gfs/api.py, identity), put here by the
-- first process that starts. A process with another store is refused. Delete the row to have the next
-- start take its store for that of this database.
CREATE TABLE store_id (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    id TEXT NOT NULL
);

-- What changed the files of a namespace: every change adds a row, in the transaction that holds its
-- locks, and updates none, so that no change waits for another one. Rows are merged now and then. The
-- sums are what matters: added minus removed is what a namespace has. They are apart because a recount
-- has to know how much was changed while it went on.
CREATE TABLE namespace_usage (
    namespace TEXT NOT NULL REFERENCES namespaces (name) ON UPDATE CASCADE ON DELETE CASCADE,
    files_added BIGINT NOT NULL,
    files_removed BIGINT NOT NULL,
    bytes_added BIGINT NOT NULL,
    bytes_removed BIGINT NOT NULL
);
CREATE INDEX namespace_usage_namespace ON namespace_usage (namespace);

-- When the files of a namespace were last counted in the store, in UTC. Without a time, or a row, what
-- it has is not known: delete a row to have the namespace counted again. A process that counts says
-- until when others leave that to it; whoever takes that away makes its result void.
CREATE TABLE recounts (
    namespace TEXT PRIMARY KEY REFERENCES namespaces (name) ON UPDATE CASCADE ON DELETE CASCADE,
    counted_at TIMESTAMP,
    claimed_until TIMESTAMP
);

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

COMMIT;
