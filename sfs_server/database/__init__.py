"""PostgreSQL: the only room that knows aiopg and psycopg2.

A ``Database`` is a pool; each statement or transaction takes a ``Session`` of it. A ``Listener``
receives notifications on a connection of its own. At the start the tables are checked and made.
"""

from sfs_server.database.listener import Listener
from sfs_server.database.migrations import migrate
from sfs_server.database.pool import Database, Params, Session, StatementFailed, UniqueViolation

__all__ = [
    "Database",
    "Listener",
    "Params",
    "Session",
    "StatementFailed",
    "UniqueViolation",
    "migrate",
]
