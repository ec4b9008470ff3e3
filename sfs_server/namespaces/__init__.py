"""The table ``namespaces``: its rows, a cache of them, and the locks of names and paths.

``Namespaces`` reads and changes the rows, and locks paths while a file or folder is changed, and
names while a namespace is deleted.
"""

from sfs_server.namespaces.locks import Guarded
from sfs_server.namespaces.rows import Namespaces

__all__ = [
    "Guarded",
    "Namespaces",
]
