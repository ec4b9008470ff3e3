"""What processes that share one PostgreSQL send each other, by LISTEN and NOTIFY.

The ``Exchange`` of a process sends and receives for several topics (``Topic``): transfers that are
watched (:mod:`sfs_server.progress`) and changes of files (:mod:`sfs_server.changes`).
"""

from sfs_server.exchange.exchange import Exchange, Topic

__all__ = [
    "Exchange",
    "Topic",
]
