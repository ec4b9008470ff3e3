-- The tables of SFS, for PostgreSQL 13 and later. Applied at every start of every process, so it may
-- be applied again at any time, and by several processes at once: the advisory lock makes them take
-- turns, because CREATE TABLE IF NOT EXISTS alone fails when two sessions run it together.
-- Nothing here takes a strong lock on a table that is already as it should be: a start never waits
-- for the transactions of processes that are serving.

BEGIN;

-- An index of a million rows takes longer than any statement of a request may. SFS waits for 30 s.
SET LOCAL statement_timeout = '31s';

-- The key is the ASCII of "sfs" as a number; it only has to be the same in every process.
SELECT pg_advisory_xact_lock(7562867);

-- created_at is UTC: every session of SFS sets its time zone to UTC, and so does this one.
CREATE TABLE IF NOT EXISTS namespaces (
    name TEXT PRIMARY KEY,
    hidden BOOLEAN DEFAULT false,
    created_at TIMESTAMP DEFAULT NOW(),
    owner TEXT
);

-- Says that a namespace is not what it was: the payload is its name, or '*' for all of them (a name
-- that does not fit into a payload, which has less than 8000 bytes, counts as all).
CREATE OR REPLACE FUNCTION sfs_namespaces_changed() RETURNS trigger LANGUAGE plpgsql AS $$
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

DO $$
BEGIN
    -- A table that an older version made has no owner.
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'namespaces'::regclass AND attname = 'owner' AND NOT attisdropped
    ) THEN
        ALTER TABLE namespaces ADD COLUMN IF NOT EXISTS owner TEXT;
    END IF;
    -- For the list of namespaces: those that everyone sees, those of one owner, and all of them.
    IF to_regclass('namespaces_shown') IS NULL THEN
        CREATE INDEX namespaces_shown ON namespaces (name COLLATE "C") WHERE hidden IS NOT TRUE;
    END IF;
    IF to_regclass('namespaces_owned') IS NULL THEN
        CREATE INDEX namespaces_owned ON namespaces (owner, name COLLATE "C");
    END IF;
    IF to_regclass('namespaces_named') IS NULL THEN
        CREATE INDEX namespaces_named ON namespaces (name COLLATE "C");
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = 'namespaces'::regclass AND tgname = 'sfs_namespaces_row'
    ) THEN
        CREATE TRIGGER sfs_namespaces_row AFTER INSERT OR UPDATE OR DELETE ON namespaces
            FOR EACH ROW EXECUTE FUNCTION sfs_namespaces_changed();
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = 'namespaces'::regclass AND tgname = 'sfs_namespaces_all'
    ) THEN
        CREATE TRIGGER sfs_namespaces_all AFTER TRUNCATE ON namespaces
            FOR EACH STATEMENT EXECUTE FUNCTION sfs_namespaces_changed();
    END IF;
END
$$;

-- The one key under which every process makes and opens links (sfs_server/links.py), of 244 random
-- bits, made once. Delete the row, and all links end when the processes have been started again.
CREATE TABLE IF NOT EXISTS link_key (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    key BYTEA NOT NULL CHECK (octet_length(key) = 32)
);
INSERT INTO link_key (key)
VALUES (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
ON CONFLICT (one) DO NOTHING;

-- Which store the files of these namespaces are in: its own id (gfs/api.py, identity), put here by the
-- first process that starts. A process with another store is refused. Delete the row to have the next
-- start take its store for that of this database.
CREATE TABLE IF NOT EXISTS store_id (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    id TEXT NOT NULL
);

-- The shared namespace that always exists. Where it is there, nothing is written.
INSERT INTO namespaces (name) VALUES ('default') ON CONFLICT (name) DO NOTHING;

COMMIT;
