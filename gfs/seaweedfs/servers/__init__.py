"""Speaking with the servers of a SeaweedFS cluster.

``master`` says which filers there are and which volume server holds which volume; ``filer`` keeps
the entries of files; ``volume`` sends and frees chunks. Control calls go by ``rpc``; chunks go by
HTTP, with what ``signing`` adds. ``address`` and ``fid`` are how servers and chunks are named.
"""

__all__ = ["address", "fid", "filer", "master", "rpc", "signing", "volume"]
