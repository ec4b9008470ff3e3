"""The table ``namespaces``: its rows, a cache of them, the locks of names and paths, and what each
namespace has.

``Namespaces`` reads and changes the rows, and locks paths while a file or folder is changed, and
names while a namespace is deleted. What a change adds to a namespace is written with it. A
``Recounter`` corrects that by what is in the store.
"""

from sfs_server.namespaces.locks import Guarded
from sfs_server.namespaces.recount import Recounter
from sfs_server.namespaces.rows import Namespaces
from sfs_server.namespaces.table import lock_key
from sfs_server.namespaces.usage import Total

__all__ = [
    "Guarded",
    "Namespaces",
    "Recounter",
    "Total",
    "lock_key",
]
