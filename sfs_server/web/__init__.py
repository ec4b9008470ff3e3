"""What surrounds each request: the connection, the middleware, the keys, the audit line.

What is changed in aiohttp is changed by ``install``, which the application calls; importing this
room changes nothing.
"""

from sfs_server.web.audit import changing, done
from sfs_server.web.connection import connection_of
from sfs_server.web.keys import (
    ACCESS_LOG,
    CHANGE,
    CLIENT,
    CONFIG,
    CREDENTIALED,
    DATABASE,
    FILESYSTEM,
    LIFECYCLE,
    LINK,
    LINKS,
    METRICS,
    NAMESPACES,
    ORIGINS,
    PRINCIPAL,
    PROGRESS,
    PROXIES,
    RECEIVE_POOL,
    REQUEST_ID,
    SEND_POOL,
    STATIC,
    STREAMS,
    TAKEN,
    TRANSFER,
    VERIFIER,
    Lifecycle,
)
from sfs_server.web.middleware import around
from sfs_server.web.wire import WireLog, accepted, forget, install, stamp, wants_page

__all__ = [
    "ACCESS_LOG",
    "CHANGE",
    "CLIENT",
    "CONFIG",
    "CREDENTIALED",
    "DATABASE",
    "FILESYSTEM",
    "LIFECYCLE",
    "LINK",
    "LINKS",
    "METRICS",
    "NAMESPACES",
    "ORIGINS",
    "PRINCIPAL",
    "PROGRESS",
    "PROXIES",
    "RECEIVE_POOL",
    "REQUEST_ID",
    "SEND_POOL",
    "STATIC",
    "STREAMS",
    "TAKEN",
    "TRANSFER",
    "VERIFIER",
    "Lifecycle",
    "WireLog",
    "accepted",
    "around",
    "changing",
    "connection_of",
    "done",
    "forget",
    "install",
    "stamp",
    "wants_page",
]
