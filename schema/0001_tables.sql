-- Everything that SFS had before its migrations were numbered. It is the only migration that may find
-- these tables already there, made by a version that had none, or by an older one, without the column
-- owner: so it looks before it makes anything, and takes no strong lock on a table that is as it
-- should be, because processes of that version are serving from it.

-- Which migrations were applied, each once and in order. A number is never used again.
CREATE TABLE IF NOT EXISTS sfs_migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- created_at is UTC: every session of SFS sets its time zone to UTC.
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

-- The one key under which every process makes and opens links, of 244 random bits: a start makes the
-- row where there is none. Delete it, and all links end when the processes have been started again.
CREATE TABLE IF NOT EXISTS link_key (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    key BYTEA NOT NULL CHECK (octet_length(key) = 32)
);

-- Which store the files of these namespaces are in: its own id (gfs/api.py, identity), put here by the
-- first process that starts. A process with another store is refused. Delete the row to have the next
-- start take its store for that of this database.
CREATE TABLE IF NOT EXISTS store_id (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    id TEXT NOT NULL
);
