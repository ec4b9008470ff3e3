"""Event streams (WHATWG HTML §9.2): what is the same for all of them, whatever they show.

An ``EventStream`` says when something is to be sent; ``OpenStreams`` has those of one kind that are
open in this process, and ends them when it stops. ``Streams`` limits how many one client may have.
Their handlers send them by :func:`sfs_server.transfer.send_events`.
"""

from sfs_server.streams.event_stream import (
    COMMENT,
    COMMENT_SECONDS,
    RETRY,
    EventStream,
    OpenStreams,
    in_batches,
)
from sfs_server.streams.limits import Streams

__all__ = [
    "COMMENT",
    "COMMENT_SECONDS",
    "RETRY",
    "EventStream",
    "OpenStreams",
    "Streams",
    "in_batches",
]
