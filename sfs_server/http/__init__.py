"""What HTTP headers, names and bodies mean. Pure: text and bytes in, values or a Problem out.

Nothing here waits, knows aiohttp, or touches a file. Look here for what a request asks for (names,
preconditions, ranges, Accept, forms, digests, uploads in parts), who sent it
(the client behind proxies), whether it is well-formed, and for what a response says of a file
(Content-Disposition, CORS).
"""

from sfs_server.http import tus
from sfs_server.http.accept import accepted, wants_json, wants_page
from sfs_server.http.codings import refuse_coding
from sfs_server.http.cors import Origins, check_origin
from sfs_server.http.destination import destination, overwrites, refuse_depth
from sfs_server.http.dialects import refuse_draft, refuse_parameters, refuse_part
from sfs_server.http.digests import Digest, promised_sha256, refuse_trailer
from sfs_server.http.disposition import active, content_disposition, content_type
from sfs_server.http.forms import MAX_OTHER_BYTES, FormFile, is_form
from sfs_server.http.forwarded import Network, Proxies, client_network, parse_network
from sfs_server.http.methods import METHODS, SAFE_METHODS
from sfs_server.http.names import (
    RESERVED,
    Target,
    check_namespace,
    decode,
    download_path,
    file_path,
    folder_path,
    target,
)
from sfs_server.http.paging import MAX_LIMIT, limit_of, next_page
from sfs_server.http.preconditions import (
    etag,
    etag_of,
    expectation,
    http_date,
    needs_current,
    plan,
    refuse_stale,
)
from sfs_server.http.quoting import quote_path
from sfs_server.http.ranges import (
    ByteRange,
    Multipart,
    byteranges,
    content_range,
    new_boundary,
    unsatisfied_range,
)
from sfs_server.http.sizes import MAX_SIZE, size_of
from sfs_server.http.trailers import TAIL_BYTES, ends_plainly, trailer_names
from sfs_server.http.wellformed import (
    MAX_FIELD_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    TOO_LARGE,
    TOO_LONG,
    check_form,
    check_head,
    without_dot_segments,
)

__all__ = [
    "MAX_FIELD_BYTES",
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "MAX_LIMIT",
    "MAX_OTHER_BYTES",
    "MAX_SIZE",
    "MAX_TARGET_BYTES",
    "METHODS",
    "RESERVED",
    "SAFE_METHODS",
    "TAIL_BYTES",
    "TOO_LARGE",
    "TOO_LONG",
    "ByteRange",
    "Digest",
    "FormFile",
    "Multipart",
    "Network",
    "Origins",
    "Proxies",
    "Target",
    "accepted",
    "active",
    "byteranges",
    "check_form",
    "check_head",
    "check_namespace",
    "check_origin",
    "client_network",
    "content_disposition",
    "content_range",
    "content_type",
    "decode",
    "destination",
    "download_path",
    "ends_plainly",
    "etag",
    "etag_of",
    "expectation",
    "file_path",
    "folder_path",
    "http_date",
    "is_form",
    "limit_of",
    "needs_current",
    "new_boundary",
    "next_page",
    "overwrites",
    "parse_network",
    "plan",
    "promised_sha256",
    "quote_path",
    "refuse_coding",
    "refuse_depth",
    "refuse_draft",
    "refuse_parameters",
    "refuse_part",
    "refuse_stale",
    "refuse_trailer",
    "size_of",
    "target",
    "trailer_names",
    "tus",
    "unsatisfied_range",
    "wants_json",
    "wants_page",
    "without_dot_segments",
]
