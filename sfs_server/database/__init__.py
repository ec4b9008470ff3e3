"""Access to PostgreSQL. Only this package uses aiopg and psycopg2.

A ``Database`` is a pool of connections; each statement and each transaction takes one of them, a
``Session``. A ``Listener`` receives notifications on a connection that is not in the pool.
``Periodic`` works on the database in the background, again and again; ``ended`` ends such a task.
``migrate`` checks the tables, and makes or changes them, when a server starts.
"""

from sfs_server.database.listener import Listener
from sfs_server.database.migrations import migrate
from sfs_server.database.periodic import Periodic, ended
from sfs_server.database.pool import Database, Params, Session, StatementFailed, UniqueViolation

__all__ = [
    "Database",
    "Listener",
    "Params",
    "Periodic",
    "Session",
    "StatementFailed",
    "UniqueViolation",
    "ended",
    "migrate",
]
