"""Uploads that can be resumed, in any process: what is recorded of each, and who goes on with it.

``Uploads`` finds, starts and discards them. A request takes one over, which ends whichever request
went on with it before, and feeds it through a ``Recording``, which writes down what is durable. A
``Sweeper`` frees what has expired.
"""

from sfs_server.uploads.recording import Recording
from sfs_server.uploads.requests import Feeding
from sfs_server.uploads.sessions import Overtaken, Session, new_id
from sfs_server.uploads.sweeping import Sweeper
from sfs_server.uploads.uploads import Uploads

__all__ = [
    "Feeding",
    "Overtaken",
    "Recording",
    "Session",
    "Sweeper",
    "Uploads",
    "new_id",
]
