"""Transfers, and who watches them, in this process and in all others that share the database.

A ``Transfer`` counts the bytes of one upload or download. The ``Hub`` has those of one process that
can be watched, and their watchers; the ``Relay`` connects it with the hubs of other processes.
"""

from sfs_server.progress.hub import Hub
from sfs_server.progress.relay import Relay
from sfs_server.progress.transfers import Direction, State, Transfer, check_id

__all__ = [
    "Direction",
    "Hub",
    "Relay",
    "State",
    "Transfer",
    "check_id",
]
