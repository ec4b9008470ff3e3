"""The embedded PostgreSQL: started for ``-data`` where no ``-database`` is given.

``start`` gives a running server with a socket that only this user can open. It ends with the
process, and one that a killed process has left is found and ended.
"""

from sfs_server.postgres.data_directory import InUse, refuse_root, sole_user
from sfs_server.postgres.server import EmbeddedPostgres, start, start_now, url_of_running

__all__ = [
    "EmbeddedPostgres",
    "InUse",
    "refuse_root",
    "sole_user",
    "start",
    "start_now",
    "url_of_running",
]
