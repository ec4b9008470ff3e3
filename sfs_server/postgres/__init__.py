"""The embedded PostgreSQL, which is used if ``-database`` is not given. Its files are under
``-data``.

``start`` returns a running server, whose socket only the user of this process can open; its
``stop`` shuts it down. If this process is killed, PostgreSQL goes on running, and the next
``start`` stops it first.
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
