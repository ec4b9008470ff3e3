"""A client library for a GFS: files made of chunks, chunks on chunkservers, and a master that says
where they are.

It knows nothing of HTTP servers, users or SQL. :mod:`gfs.api` is the interface, with its values in
:mod:`gfs.types` and its errors in :mod:`gfs.errors`; :mod:`gfs.factory` opens a store. The engines
are rooms of their own, which only the factory enters.
"""

__all__ = [
    "api",
    "copying",
    "errors",
    "factory",
    "linux",
    "observe",
    "paths",
    "streams",
    "threads",
    "types",
]
