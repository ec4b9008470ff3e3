"""The embedded engine: plain files in a directory of this machine. No master, no chunkservers."""

from gfs.embedded.copying import copy, left_out, open_copy
from gfs.embedded.filesystem import EmbeddedFileSystem

__all__ = ["EmbeddedFileSystem", "copy", "left_out", "open_copy"]
