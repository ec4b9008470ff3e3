-- How many files each namespace has, and how many bytes they are together, so that nobody has to walk
-- through the store to say it. A version that does not have these tables may serve at the same time: it
-- makes namespaces without a row in recounts, and what it publishes is found by the next recount.

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

-- A new database: nothing was published yet, and that was never counted.
WITH made AS (
    INSERT INTO namespaces (name, created_at) SELECT 'default', now() AT TIME ZONE 'UTC'
    WHERE NOT EXISTS (SELECT FROM namespaces) RETURNING name
)
INSERT INTO recounts (namespace, counted_at) SELECT name, 'epoch' FROM made;
