"""Reading a chunk from whichever chunkserver has it: connections, HTTP, and failover.

An engine describes its chunks as :class:`gfs.types.Chunk` and reads them with ``read_span``, by way
of a ``ChunkSource``: a chunkserver that does not respond costs time, never bytes.
"""

from gfs.chunkservers.client import Connections, Response
from gfs.chunkservers.replicas import Answer, ChunkSource, OnFailover, read_chunks, read_span
from gfs.chunkservers.source import HttpAnswer, HttpChunkSource
from gfs.chunkservers.spans import Span

__all__ = [
    "Answer",
    "ChunkSource",
    "Connections",
    "HttpAnswer",
    "HttpChunkSource",
    "OnFailover",
    "Response",
    "Span",
    "read_chunks",
    "read_span",
]
