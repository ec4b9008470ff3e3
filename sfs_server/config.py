"""The settings of one process, read once from flags and environment into a frozen object.

A setting is one field of ``Config``, and its ``Flag`` is the row with everything about it:
name, parser, meaning and default. The parser of the command line, ``-help``, the variable of the
environment and the default of the field are made from it, and a test holds that the table of the
README says the same.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from sfs_server.http import Network, check_origin, parse_network

T = TypeVar("T")

MAX_GRACE_SECONDS = 60.0
"""The longest ``-drain-grace``."""

MIN_UPLOAD_BUFFER_MB = 20
"""The smallest ``-upload-buffer-mb``: one upload to a cluster at full speed holds four chunks of
4 MiB, and some more."""

MAX_DURATION = 10 * 365 * 86400
"""The longest time that a flag in such units may give, in seconds."""

_DURATION = re.compile(r"([0-9]{1,12})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_LABEL = "[A-Za-z0-9_-]{1,63}"
_ADDRESS = re.compile(rf"(?:\[([^\[\]]+)\]|((?:{_LABEL}(?:\.{_LABEL})*\.?)?)):([0-9]{{1,5}})")


class ConfigError(Exception):
    """A setting that cannot be used. The text is for the operator: which it is, and what to do."""


@dataclass(frozen=True, slots=True)
class Flag(Generic[T]):
    """One flag of the server."""

    name: str
    """Without the dash."""

    placeholder: str
    """What ``-help`` shows in the place of a value."""

    parse: Callable[[str, str], T]
    """Gives the value in ``Config`` for (name, text). Raises ConfigError."""

    meaning: str
    """What ``-help`` and the README say, in Markdown without links."""

    default: str = ""
    """The text that is parsed where none is given."""

    fallback: str = ""
    """A variable of the environment that is read where the flag and its own variable are unset."""

    repeatable: bool = False
    """Given several times, it is as if it were given once, with commas between."""

    secret: bool = False
    """The value may have a password in it: the ``repr`` of ``Config`` leaves it out."""

    commands: tuple[str, ...] = ()
    """The commands besides the server that use it: only their help shows it."""

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return "SFS_" + self.name.upper().replace("-", "_")

    def field(self) -> T:
        """The field of ``Config`` that the flag gives."""
        default = self.parse(self.name, self.default)
        return field(default=default, repr=not self.secret, metadata={"flag": self})


def _secret(variable: str) -> str | None:
    """A field of ``Config`` that a variable gives, and no flag: everyone on the machine can read a
    command line."""
    return field(default=None, repr=False, metadata={"variable": variable})


class Address(NamedTuple):
    """Where to listen. An empty host is every address of the machine."""

    host: str
    port: int


def _address(name: str, text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ConfigError(
            f"-{name} is HOST:PORT or :PORT, with a port up to 65535 and an IPv6 address in "
            f"brackets, not {text!r}."
        )
    return Address(found[1] or found[2] or "", int(found[3]))


def _text(_name: str, text: str) -> str:
    return text


def _optional(_name: str, text: str) -> str | None:
    return text or None


def _masters(name: str, text: str) -> str | None:
    """The addresses, without the scheme that may stand before them."""
    addresses = text.removeprefix("seaweedfs://")
    if "://" in addresses:
        raise ConfigError(
            f"-{name} is HOST:PORT, several with commas, perhaps behind seaweedfs://, not {text!r}."
        )
    return addresses if text else None


def _origins(name: str, text: str) -> tuple[str, ...]:
    origins = []
    for origin in filter(None, (part.strip() for part in text.split(","))):
        try:
            origins.append(check_origin(origin))
        except ValueError as error:
            raise ConfigError(f"-{name} is an origin, not {origin!r}: {error}.") from None
    return tuple(origins)


def _networks(name: str, text: str) -> tuple[Network, ...]:
    networks = []
    for network in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(parse_network(network))
        except ValueError:
            raise ConfigError(
                f"-{name} is an address, or a network with no bits behind its prefix, "
                f"like 10.0.0.0/8, not {network!r}."
            ) from None
    return tuple(networks)


def _directory(name: str, text: str) -> str:
    parts = text.split("/")[1:]
    if not text.startswith("/") or not all(part.strip(".") for part in parts):
        raise ConfigError(f"-{name} is the path of a directory, like /sfs, not {text!r}.")
    return text


def _choice(name: str, text: str, *, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ConfigError(f"-{name} is {' or '.join(allowed)}, not {text!r}.")
    return text


def _may_read(name: str, text: str) -> bool:
    return _choice(name, text, allowed=("read", "none")) == "read"


def _whole(name: str, text: str, *, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least):
        raise ConfigError(f"-{name} is a whole number of {least} or more, not {text!r}.")
    return int(text)


def _megabytes(name: str, text: str, *, least: int = 0) -> int:
    return _whole(name, text, least=least) * 1_000_000


def _seconds(name: str, text: str, *, least: float = 0.001, most: float = 86400.0) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= most:
        raise ConfigError(
            f"-{name} is a number of seconds from {least:g} to {most:g}, not {text!r}."
        )
    return seconds


def duration(name: str, text: str, *, least: int = 1, most: int = MAX_DURATION) -> int:
    """Whole seconds of ``text``, the value of the flag ``name``: a number and its unit, s, m, h or
    d. Raises ConfigError if it is none, or not from ``least`` to ``most`` seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ConfigError(f"-{name} is a number and s, m, h or d, like 24h, not {text!r}.")
    seconds = int(found[1]) * _UNITS[found[2]]
    if not least <= seconds <= most:
        raise ConfigError(f"-{name} is from {least}s to {most}s, not {text!r}.")
    return seconds


_COPIES = ("backup", "restore")
_TOKEN = ("token",)


@dataclass(frozen=True, slots=True)
class Config:
    """What the flags and the environment say. Times are seconds, sizes bytes; ``None`` is unset."""

    addr: Address = Flag(  # noqa: RUF009 - an Address is immutable
        "addr", "ADDR", _address, "listen address, `HOST:PORT` or `:PORT`", default=":8080"
    ).field()
    master: str | None = Flag(
        "master",
        "ADDR",
        _masters,
        "SeaweedFS masters, `HOST:PORT`, several with commas; without it, files are kept under "
        "`-data`",
        commands=_COPIES,
    ).field()
    prefix: str = Flag(
        "prefix",
        "PATH",
        _directory,
        "directory of the cluster that everything is kept in; `/buckets` is that of its S3 gateway",
        default="/sfs",
        commands=_COPIES,
    ).field()
    gfs_tls_ca: str | None = Flag(
        "gfs-tls-ca",
        "FILE",
        _optional,
        "PEM file with the authority whose certificates the servers of the cluster have, where "
        "its gRPC asks for certificates; the three flags `-gfs-tls-*` go together",
        commands=_COPIES,
    ).field()
    gfs_tls_cert: str | None = Flag(
        "gfs-tls-cert",
        "FILE",
        _optional,
        "PEM file with the certificate that SFS shows to them",
        commands=_COPIES,
    ).field()
    gfs_tls_key: str | None = Flag(
        "gfs-tls-key",
        "FILE",
        _optional,
        "PEM file with the private key of that certificate",
        commands=_COPIES,
    ).field()
    gfs_read_key: str | None = _secret("SFS_GFS_JWT_SIGNING_READ_KEY")
    gfs_write_key: str | None = _secret("SFS_GFS_JWT_SIGNING_KEY")
    static: str | None = Flag(
        "static",
        "DIR",
        _optional,
        "directory of the web page; without it, the page inside the package",
    ).field()
    data: str = Flag(
        "data",
        "DIR",
        _text,
        "where the files and the embedded PostgreSQL are kept",
        default="./sfs-data",
        commands=_COPIES + _TOKEN,
    ).field()
    database: str | None = Flag(
        "database",
        "URL",
        _optional,
        "URL of a PostgreSQL from 13 on (also `DATABASE_URL`); without it, an embedded one under "
        "`-data`",
        fallback="DATABASE_URL",
        secret=True,
        commands=_COPIES,
    ).field()
    anonymous_read: bool = Flag(
        "anonymous",
        "MODE",
        _may_read,
        "what callers without a token may do in the namespace `default`: `read` or `none`",
        default="read",
    ).field()
    max_upload_bytes: int = Flag(
        "max-upload-mb",
        "N",
        _megabytes,
        "largest upload, in MB of 1,000,000 bytes; 0 is no limit",
        default="0",
    ).field()
    reserve_bytes: int = Flag(
        "reserve-mb",
        "N",
        _megabytes,
        "free space, in MB of 1,000,000 bytes, that uploads leave on the disk of `-data` to the "
        "service itself, and one file for each 256 kB of it: past that, 507; 0 is none. Not with "
        "`-master`",
        default="256",
    ).field()
    max_namespaces: int = Flag(
        "max-namespaces",
        "N",
        _whole,
        "how many namespaces one user may own, past that, 403; 0 is no limit, and admins have none",
        default="100",
    ).field()
    upload_idle_timeout: float = Flag(
        "upload-idle-timeout",
        "S",
        _seconds,
        "seconds without a byte before an upload is given up",
        default="60",
    ).field()
    upload_expiry: int = Flag(
        "upload-expiry",
        "TIME",
        duration,
        "how long an unfinished upload that can be resumed is kept after its last byte: `90s`, "
        "`24h`, `7d`",
        default="24h",
    ).field()
    upload_buffer_bytes: int = Flag(
        "upload-buffer-mb",
        "N",
        partial(_megabytes, least=MIN_UPLOAD_BUFFER_MB),
        "memory that all uploads of a process to a cluster may hold together, in MB of 1,000,000 "
        f"bytes, at least {MIN_UPLOAD_BUFFER_MB}; past it new bytes wait, and uploads that do not "
        "move are stored as short chunks",
        default="128",
    ).field()
    max_streams: int = Flag(
        "max-streams",
        "N",
        _whole,
        "event streams that one address (of IPv6, one network of 64 bits), and one user, may have "
        "open in a process; past that, 429; 0 is no limit. Behind a proxy, give `-trusted-proxy`, "
        "else all clients of the proxy are one address",
        default="256",
    ).field()
    cors_origins: tuple[str, ...] = Flag(
        "cors-origin",
        "URL",
        _origins,
        "web origin whose pages may use the service from a browser, like "
        "`https://app.example.com`, or `https://*.example.com` for all below it; repeatable (the "
        "variable: with commas)",
        repeatable=True,
    ).field()
    trusted_proxies: tuple[Network, ...] = Flag(
        "trusted-proxy",
        "CIDR",
        _networks,
        "network of proxies whose `X-Forwarded-For` says who the client is, and whose "
        "`X-Forwarded-Host` which host it has asked for; from others both are ignored, and "
        "`X-Forwarded-Proto` from anyone; repeatable (the variable: with commas)",
        repeatable=True,
    ).field()
    drain_timeout: float = Flag(
        "drain-timeout",
        "S",
        _seconds,
        "seconds that transfers get to finish at shutdown",
        default="30",
    ).field()
    drain_grace: float = Flag(
        "drain-grace",
        "S",
        partial(_seconds, least=0.0, most=MAX_GRACE_SECONDS),
        "seconds between SIGTERM and the end of new connections; `/readyz` is 503 meanwhile",
        default="2",
    ).field()
    log_format: str = Flag(
        "log-format",
        "FORMAT",
        partial(_choice, allowed=("text", "json")),
        "`text` or `json`; without it, `json` where standard error is no terminal",
        default="text",
    ).field()
    jwt_secret: str | None = _secret("JWT_SECRET")
    jwt_public_key: str | None = Flag(
        "jwt-public-key",
        "FILE",
        _optional,
        "PEM file with the public key that checks RS256 or ES256 tokens",
    ).field()
    jwks_url: str | None = Flag(
        "jwks-url", "URL", _optional, "URL of the JWK set whose keys check RS256 or ES256 tokens"
    ).field()
    jwt_issuer: str | None = Flag(
        "jwt-issuer", "NAME", _optional, "the `iss` that every token must have", commands=_TOKEN
    ).field()
    jwt_audience: str | None = Flag(
        "jwt-audience",
        "NAME",
        _optional,
        "the `aud` that every token must have; without it, tokens that have an `aud` are refused",
        commands=_TOKEN,
    ).field()


def _fields(source: str) -> dict[str, Any]:
    """What ``source`` (``flag`` or ``variable``) gives, by the name of the field."""
    return {one.name: one.metadata[source] for one in fields(Config) if source in one.metadata}


FLAGS: tuple[Flag[Any], ...] = tuple(_fields("flag").values())
"""The flags of the server, in the order of ``-help``."""

VARIABLES = frozenset(
    name
    for name in (*(flag.variable for flag in FLAGS), *_fields("variable").values())
    if name.startswith("SFS_")
)
"""The variables of the environment that start with ``SFS_``."""

_LINK = re.compile(
    r"SFS(?:_[A-Z0-9]+)*?_(?:"
    r"SERVICE_HOST=.*"
    r"|SERVICE_PORT(?:_[A-Z0-9_]+)?=[0-9]+"
    r"|PORT=[a-z]+://.*"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)=[a-z]+://.*"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)_(?:PROTO|ADDR|PORT|START|END|PORT_START|PORT_END)=.*"
    r"|NAME=/.*"
    r"|ENV_.*"
    r")",
    re.DOTALL,
)
"""``NAME=VALUE`` of a variable that Kubernetes or Docker sets. Kubernetes sets some in every pod
for each Service, Docker in every container for the containers that it is linked to. They start with
the name of the Service or container, so with ``SFS_`` where it is ``sfs`` or ``sfs-gateway``. See
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables and
https://docs.docker.com/engine/network/links/#environment-variables."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean …?)`` with the name of ``known`` that is nearest to ``name``, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _check_variables(environ: Mapping[str, str]) -> None:
    """Raise ConfigError for a variable that starts with ``SFS_`` and is unknown. If a misspelt one
    were ignored, a restriction would be missing, and nobody would notice."""
    unknown = sorted(
        f"{name}{nearest(name, VARIABLES)}"
        for name, value in environ.items()
        if name.startswith("SFS_") and value and name not in VARIABLES
        if not _LINK.fullmatch(f"{name}={value}")
    )
    if unknown:
        raise ConfigError(
            f"Unknown environment variable: {', '.join(unknown)}. Correct or unset it; "
            "sfs-server -help names the flags, and each has a variable SFS_<NAME>."
        )


def check_text(name: str, text: str) -> None:
    """Raise ConfigError if ``text``, the value of ``name``, has bytes that are not UTF-8. Python
    keeps them as lone surrogates, which can be neither printed nor sent to PostgreSQL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ConfigError(f"{name} is not UTF-8: {shown!r}. Give one that is.") from None


def make_config(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, terminal: bool
) -> Config:
    """The Config of ``flags`` (by name; None where not given) and the environment ``environ``.

    ``terminal``: whether standard error is a terminal. Raises ConfigError for a value that cannot
    be used, and for an unknown variable that starts with ``SFS_``.
    """
    _check_variables(environ)

    def variable(name: str) -> str | None:
        given = environ.get(name) or None
        if given is not None:
            check_text(name, given)
        return given

    def value(flag: Flag[Any]) -> Any:
        given = flags.get(flag.name)
        if given is None:
            given = variable(flag.variable)
        default = "json" if flag.name == "log-format" and not terminal else flag.default
        return flag.parse(flag.name, given or variable(flag.fallback) or default)

    values = {name: value(flag) for name, flag in _fields("flag").items()}
    values |= {name: variable(secret) for name, secret in _fields("variable").items()}
    config = Config(**values)
    has_key = config.jwt_secret or config.jwt_public_key or config.jwks_url
    if config.database is not None and not has_key:
        raise ConfigError(
            "-database needs a key for tokens: set JWT_SECRET, -jwt-public-key or -jwks-url, "
            "the same for every process."
        )
    return config
