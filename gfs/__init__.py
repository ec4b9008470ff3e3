"""A client library for a GFS: files made of chunks, chunks on chunkservers, a master that knows.

It knows nothing of HTTP servers, users or SQL. Start at :mod:`gfs.api` for the interface, and at
:mod:`gfs.factory` for how a file system is opened.
"""
