"""The byte loops: from the store to the client's socket, and the other way.

``transfer_of`` makes the Transfer of a request, which counts its bytes; ``resumed_transfer`` that
of a request of an upload over several, and ``end_resumed`` ends such an upload. ``send`` is the
loop of a download, ``send_archive`` that of an archive, ``Upload`` that of an upload, and
``Segment`` that of some bytes of one. All use a ``ClientSocket``, which knows all about the
client's connection; other responses that are sent piece by piece use it too.
"""

from sfs_server.transfer.client_socket import ClientSocket
from sfs_server.transfer.downloads import send, send_archive
from sfs_server.transfer.event_streams import send_events
from sfs_server.transfer.request import end_resumed, resumed_transfer, transfer_of
from sfs_server.transfer.uploads import Segment, Upload, digest_mismatch, too_large

__all__ = [
    "ClientSocket",
    "Segment",
    "Upload",
    "digest_mismatch",
    "end_resumed",
    "resumed_transfer",
    "send",
    "send_archive",
    "send_events",
    "too_large",
    "transfer_of",
]
