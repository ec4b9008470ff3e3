"""The byte loops: from the store to the client's socket, and the other way."""

from sfs_server.transfer.bodies import begin, begin_body, send, write_piece
from sfs_server.transfer.request import transfer_of
from sfs_server.transfer.sendfile import STALL_SECONDS
from sfs_server.transfer.uploads import Upload

__all__ = [
    "STALL_SECONDS",
    "Upload",
    "begin",
    "begin_body",
    "send",
    "transfer_of",
    "write_piece",
]
