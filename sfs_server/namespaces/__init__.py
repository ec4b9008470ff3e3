"""The table ``namespaces``: its rows, a cache of them, and the locks of names.

``Namespaces`` reads and changes the rows, and locks names while a file is published or a namespace
is deleted.
"""

from sfs_server.namespaces.rows import Namespaces

__all__ = [
    "Namespaces",
]
