"""The log: to standard error, one line each, as text or as JSON.

No name, text of an exception or message of a library can start another line or show a token. In
JSON everything is escaped; in text, what is not printable is escaped, and the lines of a traceback
are indented. Tokens are removed from the finished line, because nobody knows every text of every
exception.

The access log has a line for every request, and does not use the ``logging`` of the standard
library, which takes 40 µs and a system call for each line: its lines are formatted in one step,
collected for FLUSH_SECONDS, and written together. They have the template of the route, never a
path. The audit log has a line for every change, with names in it; these are written immediately.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from gfs import clock
from sfs_server.errors import refused

FLUSH_SECONDS = 0.1
"""How long lines are collected before they are written."""

MAX_LINES = 1_000
"""The number of lines that are collected at most."""

CLIENT_GONE = 499
"""The status in logs and metrics of a request whose client left, as in those of nginx."""

_TIME = "%Y-%m-%dT%H:%M:%S"
_INDENT = "\n    | "

_NAME = "".join(f"(?:{c}|%{ord(c):02x}|%{ord(c.upper()):02x})" for c in "token")
_DOT = r"(?:\.|%2e)"
_SECRETS = re.compile(
    rf"(?P<name>{_NAME}(?:=|%3D))[^&\s\"'<>#]+"  # of a query
    r"|(?P<scheme>\bbearer\s+)[^\s\"',]+"
    r"|(?<![\w-])(?:ecloud_)?eyJ[\w-]++\.[\w-]++(?:\.[\w-]*+)?"  # as most JWTs start
    rf"|(?<![\w-])[\w-]{{16,}}+{_DOT}[\w-]{{16,}}+{_DOT}[\w-]{{43,}}+",  # as every one is made
    re.IGNORECASE | re.ASCII,
)
"""A token in any text. A JWT that this service takes has a header and claims of more than 16
characters each, and a signature of 43 or more (HS256 has the shortest). The name of a file may
stand right before it, or behind it. Each alternative starts at most once in a word, and never goes
back (``+`` behind a quantifier), so the time grows with the text and not faster."""

_log = logging.getLogger(__name__)


def redact(text: str) -> str:
    """``text`` without the tokens in it."""
    return _SECRETS.sub(lambda found: f"{found['name'] or found['scheme'] or ''}(secret)", text)


def one_line(text: str) -> str:
    """``text`` with everything escaped that is not printable, such as a line break."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Json(logging.Formatter):
    """Formats a record as one line of JSON. Times are UTC with milliseconds (RFC 3339)."""

    converter = staticmethod(time.gmtime)
    default_time_format = _TIME
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line)


class _Text(logging.Formatter):
    """Formats a record as one line of text; a traceback follows on lines that are indented."""

    converter = staticmethod(time.gmtime)
    default_time_format = _TIME
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        message = one_line(redact(record.getMessage()))
        line = f"{self.formatTime(record)} {record.levelname:7} {record.name}: {message}"
        if record.exc_info:
            trace = redact(self.formatException(record.exc_info))
            line += "".join(_INDENT + one_line(part) for part in trace.splitlines())
        return line


def set_up_logging(log_format: str) -> None:
    """Log INFO and above to standard error, in ``log_format``: ``text`` or ``json``."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


@dataclass(slots=True)
class Change:
    """What a request is to change: a namespace, or the file or folder at the path ``file`` in it.
    ``to`` is the other end of a move, a namespace and a path, and ``folder`` whether a folder is
    moved. ``done`` is set once it is changed, also if the request fails afterwards."""

    action: str
    namespace: str | None = None
    file: str | None = None
    to: tuple[str, str] | None = None
    folder: bool = False
    done: bool = False


class AccessLog:
    """Writes the access log and the audit log. Belongs to one event loop; ``flush`` it at the
    end."""

    def __init__(self, log_format: str) -> None:
        """``log_format`` is ``text`` or ``json``."""
        self._json = log_format == "json"
        self._lines: list[str] = []
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<AccessLog json={self._json} lines={len(self._lines)} lost={self._lost}>"

    def write(
        self,
        request_id: str,
        method: str,
        route: str,
        status: int,
        moved: int,
        seconds: float,
        user: str | None,
        client: str | None,
    ) -> None:
        """Add the line of a request that has ended. ``request_id`` needs no escapes; ``method`` and
        ``route`` are from the closed sets of the metrics; ``moved`` is the number of bytes of the
        body, received or sent; ``client`` is an IP address."""
        if self._json:
            line = (
                f'{{"time": "{_now()}", "level": "info", "logger": "sfs.access", '
                f'"id": "{request_id}", "method": "{method}", "route": "{route}", '
                f'"status": {status}, "bytes": {moved}, "seconds": {seconds:.6f}, '
                f'"user": {_quoted(user)}, "client": {_quoted(client)}}}\n'
            )
        else:
            line = (
                f"{_now()} {request_id} {method} {route} {status} {moved} {seconds:.6f} "
                f"{_quoted(user)} {client}\n"
            )
        self._lines.append(line)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= MAX_LINES:
            self.flush()

    def audit(
        self,
        request_id: str,
        user: str | None,
        client: str | None,
        change: Change,
        status: int,
        connection: str,
    ) -> None:
        """Write the line of a request that changed something, or tried to. ``connection`` is the
        state of its connection: see :class:`sfs_server.web.connection.Connection`."""
        outcome = _outcome(change, status)
        to = "" if change.to is None else _end(change.to, as_json=self._json)
        if self._json:
            line = (
                f'{{"time": "{_now()}", "level": "info", "logger": "sfs.audit", '
                f'"id": "{request_id}", "user": {_quoted(user)}, "client": {_quoted(client)}, '
                f'"action": "{change.action}", '
                f'"namespace": {_quoted(change.namespace)}, "file": {_quoted(change.file)}{to}, '
                f'"outcome": "{outcome}", "status": {status}, "connection": "{connection}"}}\n'
            )
        else:
            line = (
                f"{_now()} {request_id} {_quoted(user)} {client} {outcome}: {change.action} "
                f"{_quoted(change.namespace)} {_quoted(change.file)}{to} {status} {connection}\n"
            )
        self._lines.append(line)
        self.flush()

    def flush(self) -> None:
        """Write the lines that are collected. Where they cannot be written, because the disk is
        full or the terminal is closed, they are dropped, and a later line says how many."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        try:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()
        except OSError:
            self._lost += len(lines)
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            _log.warning("the log could not be written: %d lines are missing", lost)


def _outcome(change: Change, status: int) -> str:
    """``done``, ``refused``, ``failed``, or ``abandoned`` by a client that left."""
    if change.done or status < 400:
        return "done"
    if status == CLIENT_GONE:
        return "abandoned"
    return "refused" if refused(status) else "failed"


def _end(to: tuple[str, str], *, as_json: bool) -> str:
    """The end of a move, for a line of the audit log."""
    namespace, path = map(_quoted, to)
    if as_json:
        return f', "to_namespace": {namespace}, "to_file": {path}'
    return f" to {namespace} {path}"


def _now() -> str:
    """The time in UTC with milliseconds (RFC 3339)."""
    now = datetime.fromtimestamp(clock.unix(), UTC)
    return f"{now.isoformat(timespec='milliseconds')[:-6]}Z"


@lru_cache(1024)
def _quoted(text: str | None) -> str:
    """``text`` as JSON in ASCII, without tokens: nothing in it can end a line."""
    return json.dumps(text if text is None else redact(text))
