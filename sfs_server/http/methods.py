"""The methods of HTTP (RFC 9110 §9.3, RFC 4918 §9) that the service knows."""

METHODS = frozenset("GET HEAD POST PUT DELETE OPTIONS PATCH MOVE MKCOL".split())
"""Those that metrics and logs name. Any other is ``other`` there, so that no client can make up
series of metrics."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Those that change nothing (§9.2.1): of no use when their client has left."""
