"""Reading a chunk from whichever chunkserver has it: connections, HTTP, checksums and failover.

An engine says where the replicas of a chunk are and how one is asked (``Chunkservers``), and reads
it with a ``ChunkReading``: a chunkserver that does not respond costs time, never bytes.
"""

from gfs.chunkservers.client import Connections, Response
from gfs.chunkservers.reading import Chunk, ChunkReading, Chunkservers

__all__ = ["Chunk", "ChunkReading", "Chunkservers", "Connections", "Response"]
