"""The typed keys under which the application and a request carry what handlers need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from aiohttp import web

from gfs.api import FileSystem
from sfs_server.archives import Archives
from sfs_server.auth import Link, Links, Principal, Verifier
from sfs_server.changes import Changes
from sfs_server.config import Config
from sfs_server.database import Database
from sfs_server.http import Origins, Proxies
from sfs_server.logs import AccessLog, Change
from sfs_server.metrics import Metrics
from sfs_server.namespaces import Namespaces
from sfs_server.page import StaticFiles
from sfs_server.progress import Hub, Transfer
from sfs_server.streams import Streams
from sfs_server.uploads import Uploads


class Lifecycle:
    """Whether the process stops, and how many requests it still handles.

    ``draining`` is set once, when a stop starts: the process is not ready any more. The functions
    in ``on_drain`` are called when it accepts no connections any more either. ``running`` is the
    number of requests that are being handled."""

    def __init__(self) -> None:
        self.draining = False
        self.running = 0
        self.on_drain: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Lifecycle running={self.running} draining={self.draining}>"

    def drain(self) -> None:
        """No connection is accepted any more: end what a stop need not wait for."""
        self.draining = True
        for call in self.on_drain:
            call()


ACCESS_LOG = web.AppKey("ACCESS_LOG", AccessLog)
ARCHIVES = web.AppKey("ARCHIVES", Archives)
CHANGES = web.AppKey("CHANGES", Changes)
CONFIG = web.AppKey("CONFIG", Config)
DATABASE = web.AppKey("DATABASE", Database)
FILESYSTEM = web.AppKey[FileSystem]("FILESYSTEM", FileSystem)
LIFECYCLE = web.AppKey("LIFECYCLE", Lifecycle)
LINKS = web.AppKey("LINKS", Links)
METRICS = web.AppKey("METRICS", Metrics)
NAMESPACES = web.AppKey("NAMESPACES", Namespaces)
ORIGINS = web.AppKey("ORIGINS", Origins)
PROGRESS = web.AppKey("PROGRESS", Hub)
PROXIES = web.AppKey("PROXIES", Proxies)
RECEIVE_POOL = web.AppKey[Executor]("RECEIVE_POOL", Executor)
"""The threads that read large bodies from their sockets."""
SEND_POOL = web.AppKey[Executor]("SEND_POOL", Executor)
"""The threads that wait for the disk in sendfile(2)."""
STREAMS = web.AppKey("STREAMS", Streams)
UPLOADS = web.AppKey("UPLOADS", Uploads)
STATIC = web.AppKey("STATIC", StaticFiles)
VERIFIER = web.AppKey("VERIFIER", Verifier)

CHANGE = web.RequestKey("CHANGE", Change)
"""What the request is to change, for the audit log (:mod:`sfs_server.web.audit`)."""
CLIENT = web.RequestKey("CLIENT", str)
"""The IP address of the client, also behind trusted proxies; '' where there is none."""
CREDENTIALED = web.RequestKey("CREDENTIALED", bool)
"""Whether the request carried a credential, whether or not its handler needs one."""
IN_URL = web.RequestKey("IN_URL", bool)
"""Set where the credential stands in the URL, which must not travel on in a Referer."""
LINK = web.RequestKey("LINK", Link)
"""The link that the request used as its credential; PRINCIPAL is then the user who made it."""
PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
TAKEN = web.RequestKey("TAKEN", bool)
"""Set where the body is read past aiohttp: the connection cannot be used again."""
TRANSFER = web.RequestKey("TRANSFER", Transfer)
"""The upload or download that the request makes, if it makes one."""
