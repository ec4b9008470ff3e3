"""The rows of namespaces.

They are cached for reads, and locked while a file is published or a namespace deleted.
"""

from sfs_server.namespaces.rows import Namespaces

__all__ = [
    "Namespaces",
]
