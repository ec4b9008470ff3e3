"""A folder and all below it as one ZIP file.

``Archives`` lists what is in it, and limits how many are made at once. ``ArchivePieces`` are its
bytes: :mod:`sfs_server.transfer` sends them. Only :mod:`sfs_server.archives.zips` knows the format.
"""

from sfs_server.archives.contents import Archives
from sfs_server.archives.pieces import ArchivePieces

__all__ = [
    "ArchivePieces",
    "Archives",
]
