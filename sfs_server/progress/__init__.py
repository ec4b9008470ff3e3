"""Transfers, and who watches them, in this process and in all others that share the database."""

from sfs_server.progress.hub import Hub
from sfs_server.progress.relay import Relay
from sfs_server.progress.streams import Streams
from sfs_server.progress.types import COMMENT, Direction, State, Transfer, check_id

__all__ = [
    "COMMENT",
    "Direction",
    "Hub",
    "Relay",
    "State",
    "Streams",
    "Transfer",
    "check_id",
]
