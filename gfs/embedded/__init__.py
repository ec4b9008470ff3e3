"""The embedded engine: plain files in a directory of this machine. No master, no chunkservers.

``copy`` and ``open_copy`` make and read a copy of such a store, for a backup.
"""

from gfs.embedded.copying import copy, left_out, open_copy
from gfs.embedded.filesystem import EmbeddedFileSystem

__all__ = ["EmbeddedFileSystem", "copy", "left_out", "open_copy"]
