"""What changes in namespaces, for those who watch a list, in this process and in all others.

``Changes`` is told each change after it was made, and shows it to the event streams of its
namespace (``ChangeStream``), also to those of other processes.
"""

from sfs_server.changes.changes import Changes
from sfs_server.changes.stream import FIRST, ChangeStream

__all__ = [
    "FIRST",
    "ChangeStream",
    "Changes",
]
