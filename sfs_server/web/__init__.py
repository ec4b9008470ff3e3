"""What happens to every request besides its handler.

The connection takes its bytes (connection, refusals). Then it gets an id, and at its end its
metrics and log lines (request_log, audit); its errors become responses (problems, error_page); its
sender becomes a Principal (identity). Its response gets the headers that all have
(response_headers, cors). Application and request carry what they need under typed keys (keys).

aiohttp is changed by ``install`` alone (patches), which the application calls; importing this room
changes nothing.
"""

from sfs_server.web.audit import done
from sfs_server.web.connection import ServerLog, connection_of
from sfs_server.web.cors import respond_to_preflight, share_response
from sfs_server.web.identity import identify, permitted
from sfs_server.web.keys import (
    ACCESS_LOG,
    ARCHIVES,
    CHANGE,
    CHANGES,
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
    UPLOADS,
    VERIFIER,
    Lifecycle,
)
from sfs_server.web.patches import install
from sfs_server.web.problems import respond_to_errors
from sfs_server.web.request_log import log_request
from sfs_server.web.response_headers import add_headers

__all__ = [
    "ACCESS_LOG",
    "ARCHIVES",
    "CHANGE",
    "CHANGES",
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
    "UPLOADS",
    "VERIFIER",
    "Lifecycle",
    "ServerLog",
    "add_headers",
    "connection_of",
    "done",
    "identify",
    "install",
    "log_request",
    "permitted",
    "respond_to_errors",
    "respond_to_preflight",
    "share_response",
]
