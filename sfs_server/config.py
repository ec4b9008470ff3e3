"""The settings of one process, read once from flags and environment into a frozen object."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sfs_server.cors import check_origin
from sfs_server.proxies import Network, parse_network

MAX_GRACE_SECONDS = 60.0

_LABEL = "[A-Za-z0-9_-]{1,63}"
_ADDRESS = re.compile(rf"(?:\[([^\[\]]+)\]|((?:{_LABEL}(?:\.{_LABEL})*\.?)?)):([0-9]{{1,5}})")


class ConfigError(Exception):
    """A setting that cannot be used. The text says which, and what to do; it is shown as it is."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the flags and the environment say. Times are seconds, sizes bytes; ``None`` is unset."""

    host: str = ""
    port: int = 8080
    master: str | None = None
    prefix: str = "/sfs"
    gfs_tls_ca: str | None = None
    gfs_tls_cert: str | None = None
    gfs_tls_key: str | None = None
    gfs_read_key: str | None = field(default=None, repr=False)
    gfs_write_key: str | None = field(default=None, repr=False)
    static: str | None = None
    data: str = "./sfs-data"
    database: str | None = None
    anonymous_read: bool = True
    max_upload_bytes: int = 0
    upload_idle_timeout: float = 60.0
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    drain_timeout: float = 30.0
    drain_grace: float = 2.0
    log_format: str = "text"
    jwt_secret: str | None = field(default=None, repr=False)
    jwt_public_key: str | None = None
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name without the dash, and what ``-help`` says of it."""

    name: str
    help: str
    placeholder: str
    repeatable: bool = False
    """Given several times, it is as if it were given once, with commas between."""

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return "SFS_" + self.name.upper().replace("-", "_")


FLAGS = (
    Flag("addr", "listen address, HOST:PORT or :PORT (default :8080)", "ADDR"),
    Flag("master", "GFS masters, HOST:PORT, several with commas; without it, -data", "ADDR"),
    Flag("prefix", "directory of the GFS that everything is kept in, with -master (/sfs)", "PATH"),
    Flag("gfs-tls-ca", "PEM file: whose certificates servers of the GFS may have", "FILE"),
    Flag("gfs-tls-cert", "PEM file: our certificate for them", "FILE"),
    Flag("gfs-tls-key", "PEM file: its private key", "FILE"),
    Flag("static", "directory of the web page (the page that ships inside the package)", "DIR"),
    Flag("data", "where the embedded store and PostgreSQL keep their data (./sfs-data)", "DIR"),
    Flag("database", "PostgreSQL URL; without it an embedded PostgreSQL under -data", "URL"),
    Flag("anonymous", "what a caller without a token may do in 'default': read or none", "MODE"),
    Flag("max-upload-mb", "largest upload in MB of 1,000,000 bytes; 0 is no limit (0)", "N"),
    Flag("upload-idle-timeout", "seconds without a byte before an upload is given up (60)", "S"),
    Flag("cors-origin", "web origin that may use the service; https://*.example.com", "URL", True),
    Flag("trusted-proxy", "network of proxies whose X-Forwarded-For counts", "CIDR", True),
    Flag("drain-timeout", "seconds that transfers get to finish at shutdown (30)", "S"),
    Flag("drain-grace", "seconds between SIGTERM and the end of new connections (2)", "S"),
    Flag("log-format", "text or json (text on a terminal, else json)", "FORMAT"),
    Flag("jwt-public-key", "PEM file of the public key that checks RS256 or ES256 tokens", "FILE"),
    Flag("jwks-url", "URL of the JWK set that checks RS256 or ES256 tokens", "URL"),
    Flag("jwt-issuer", "the iss that every token must have", "NAME"),
    Flag("jwt-audience", "the aud that every token must have", "NAME"),
)
"""The flags of the server. JWT_SECRET and the keys of the GFS (SFS_GFS_JWT_SIGNING_KEY,
SFS_GFS_JWT_SIGNING_READ_KEY) are no flags, because a command line is public."""


def make_config(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, terminal: bool
) -> Config:
    """The Config that ``flags`` (by name, None where not given) and ``environ`` ask for.

    ``terminal`` says whether the log goes to one. Raises ConfigError for a value that cannot be.
    """

    def value(name: str) -> str | None:
        given = flags.get(name)
        if given is None:
            given = environ.get(Flag(name, "", "").variable)
        return given or None

    host, port = _address(value("addr") or ":8080")
    config = Config(
        host=host,
        port=port,
        master=_masters(value("master")),
        prefix=_prefix(value("prefix") or "/sfs"),
        gfs_tls_ca=value("gfs-tls-ca"),
        gfs_tls_cert=value("gfs-tls-cert"),
        gfs_tls_key=value("gfs-tls-key"),
        gfs_read_key=environ.get("SFS_GFS_JWT_SIGNING_READ_KEY") or None,
        gfs_write_key=environ.get("SFS_GFS_JWT_SIGNING_KEY") or None,
        static=value("static"),
        data=value("data") or "./sfs-data",
        database=value("database") or environ.get("DATABASE_URL") or None,
        anonymous_read=_choice("anonymous", value("anonymous") or "read", "read", "none") == "read",
        max_upload_bytes=_whole("max-upload-mb", value("max-upload-mb") or "0") * 1_000_000,
        upload_idle_timeout=_seconds("upload-idle-timeout", value("upload-idle-timeout") or "60"),
        cors_origins=_origins(value("cors-origin") or ""),
        trusted_proxies=_networks(value("trusted-proxy") or ""),
        drain_timeout=_seconds("drain-timeout", value("drain-timeout") or "30"),
        drain_grace=_seconds("drain-grace", value("drain-grace") or "2", 0.0, MAX_GRACE_SECONDS),
        log_format=_choice(
            "log-format", value("log-format") or ("text" if terminal else "json"), "text", "json"
        ),
        jwt_secret=environ.get("JWT_SECRET") or None,
        jwt_public_key=value("jwt-public-key"),
        jwks_url=value("jwks-url"),
        jwt_issuer=value("jwt-issuer"),
        jwt_audience=value("jwt-audience"),
    )
    has_key = config.jwt_secret or config.jwt_public_key or config.jwks_url
    if config.database is not None and not has_key:
        raise ConfigError(
            "-database needs a key for tokens: set JWT_SECRET, -jwt-public-key or -jwks-url, "
            "the same for every process."
        )
    return config


def _address(text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ConfigError(
            "-addr is HOST:PORT or :PORT, with a port up to 65535 and an IPv6 address in brackets, "
            f"not {text!r}."
        )
    return found[1] or found[2] or "", int(found[3])


def _masters(text: str | None) -> str | None:
    """The addresses, without the scheme that may stand before them."""
    if text is None:
        return None
    addresses = text.removeprefix("seaweedfs://")
    if "://" in addresses:
        raise ConfigError(
            f"-master is HOST:PORT, several with commas, perhaps behind seaweedfs://, not {text!r}."
        )
    return addresses


def _origins(text: str) -> tuple[str, ...]:
    origins = []
    for origin in filter(None, (part.strip() for part in text.split(","))):
        try:
            origins.append(check_origin(origin))
        except ValueError as error:
            raise ConfigError(f"-cors-origin is an origin, not {origin!r}: {error}.") from None
    return tuple(origins)


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for network in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(parse_network(network))
        except ValueError:
            raise ConfigError(
                "-trusted-proxy is an address, or a network with no bits behind its prefix, "
                f"like 10.0.0.0/8, not {network!r}."
            ) from None
    return tuple(networks)


def _prefix(text: str) -> str:
    parts = text.split("/")[1:]
    if not text.startswith("/") or not all(part.strip(".") for part in parts):
        raise ConfigError(f"-prefix is the path of a directory, like /sfs, not {text!r}.")
    return text


def _choice(name: str, text: str, *allowed: str) -> str:
    if text not in allowed:
        raise ConfigError(f"-{name} is {' or '.join(allowed)}, not {text!r}.")
    return text


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ConfigError(f"-{name} is a whole number of 0 or more, not {text!r}.")
    return int(text)


def _seconds(name: str, text: str, least: float = 0.001, most: float = 86400.0) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= most:
        raise ConfigError(
            f"-{name} is a number of seconds from {least:g} to {most:g}, not {text!r}."
        )
    return seconds


def secret_of(config: Config) -> str | None:
    """The HS256 secret: JWT_SECRET, or on the embedded default one that is made once and kept
    under ``-data`` with mode 0600. None where a key flag says how tokens are checked.

    Raises ConfigError when the file cannot be read or made.
    """
    if config.jwt_public_key or config.jwks_url:
        return None
    if config.jwt_secret is not None:
        return config.jwt_secret
    path = os.path.join(config.data, "jwt-secret")
    try:
        os.makedirs(config.data, exist_ok=True)
        _make_secret(path)
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "not text"
        raise ConfigError(
            f"The secret for tokens under -data cannot be read or made ({reason}): "
            "give -data a directory that this user may write to, or set JWT_SECRET."
        ) from error


def _make_secret(path: str) -> None:
    """Put a secret of 256 random bits at ``path``, whole or not at all, unless one is there."""
    if os.path.exists(path):
        return
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, os.urandom(32).hex().encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(temporary, path)  # two processes may start at once: the first one's secret stays
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)
