"""Lists of files and folders: which entries a request asks for, how they are written, and how they
are sent.

``query_of`` reads what the query of a request narrows the list to. ``send_list`` responds with the
entries, written by a ``JsonArray`` or an ``IndexPage``.
"""

from sfs_server.listing.index_page import POLICY, IndexPage
from sfs_server.listing.json_array import JsonArray
from sfs_server.listing.query import Query, query_of
from sfs_server.listing.sending import send_list

__all__ = [
    "POLICY",
    "IndexPage",
    "JsonArray",
    "Query",
    "query_of",
    "send_list",
]
