"""What schemathesis loads before it runs: how it writes a body that it does not know."""

from __future__ import annotations

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
