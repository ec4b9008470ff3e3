"""The settings of one process, read once from flags and environment into a frozen object."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sfs_server.cors import check_origin
from sfs_server.proxies import Network, parse_network

MAX_GRACE_SECONDS = 60.0
MIN_SECRET_BYTES = 16
"""Of the secret for tokens."""

SECRET_FILE = "jwt-secret"  # noqa: S105 - the name of a file  # nosec B105
"""Where it is kept under ``-data``, where SFS has made it."""

LEAST_BUFFER_MB = 20
"""What one upload to a cluster holds at full speed: four chunks of 4 MiB, and some."""

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
    reserve_bytes: int = 256_000_000
    max_namespaces: int = 100
    upload_idle_timeout: float = 60.0
    upload_buffer_bytes: int = 128_000_000
    max_streams: int = 256
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

    commands: tuple[str, ...] = ()
    """The commands besides the server that use it: only their help shows it."""

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the flag."""
        return "SFS_" + self.name.upper().replace("-", "_")


_COPIES = ("backup", "restore")
_TOKEN = ("token",)

FLAGS = (
    Flag("addr", "listen address, HOST:PORT or :PORT (default :8080)", "ADDR"),
    Flag(
        "master",
        "GFS masters, HOST:PORT, several with commas; without it, -data",
        "ADDR",
        commands=_COPIES,
    ),
    Flag(
        "prefix",
        "directory of the GFS that everything is kept in, with -master (/sfs)",
        "PATH",
        commands=_COPIES,
    ),
    Flag(
        "gfs-tls-ca",
        "PEM file: whose certificates servers of the GFS may have",
        "FILE",
        commands=_COPIES,
    ),
    Flag("gfs-tls-cert", "PEM file: our certificate for them", "FILE", commands=_COPIES),
    Flag("gfs-tls-key", "PEM file: its private key", "FILE", commands=_COPIES),
    Flag("static", "directory of the web page (the page that ships inside the package)", "DIR"),
    Flag(
        "data",
        "where the embedded store and PostgreSQL keep their data (./sfs-data)",
        "DIR",
        commands=_COPIES + _TOKEN,
    ),
    Flag(
        "database",
        "PostgreSQL URL; without it an embedded PostgreSQL under -data",
        "URL",
        commands=_COPIES,
    ),
    Flag("anonymous", "what a caller without a token may do in 'default': read or none", "MODE"),
    Flag("max-upload-mb", "largest upload in MB of 1,000,000 bytes; 0 is no limit (0)", "N"),
    Flag(
        "reserve-mb",
        "MB of 1,000,000 bytes that uploads leave free on the disk of -data; 0 is none (256)",
        "N",
    ),
    Flag("max-namespaces", "how many namespaces one user may own; 0 is no limit (100)", "N"),
    Flag("upload-idle-timeout", "seconds without a byte before an upload is given up (60)", "S"),
    Flag("upload-buffer-mb", "MB of memory for all uploads to a cluster together (128)", "N"),
    Flag("max-streams", "event streams of one address, and of one user; 0 is no limit (256)", "N"),
    Flag("cors-origin", "web origin that may use the service; https://*.example.com", "URL", True),
    Flag("trusted-proxy", "network of proxies whose X-Forwarded-For counts", "CIDR", True),
    Flag("drain-timeout", "seconds that transfers get to finish at shutdown (30)", "S"),
    Flag("drain-grace", "seconds between SIGTERM and the end of new connections (2)", "S"),
    Flag("log-format", "text or json (text on a terminal, else json)", "FORMAT"),
    Flag("jwt-public-key", "PEM file of the public key that checks RS256 or ES256 tokens", "FILE"),
    Flag("jwks-url", "URL of the JWK set that checks RS256 or ES256 tokens", "URL"),
    Flag("jwt-issuer", "the iss that every token must have", "NAME", commands=_TOKEN),
    Flag("jwt-audience", "the aud that every token must have", "NAME", commands=_TOKEN),
)
"""The flags of the server."""

WRITE_KEY = "SFS_GFS_JWT_SIGNING_KEY"
READ_KEY = "SFS_GFS_JWT_SIGNING_READ_KEY"
"""The keys of the GFS are variables and no flags, as JWT_SECRET is: a command line is public."""

VARIABLES = frozenset({flag.variable for flag in FLAGS} | {WRITE_KEY, READ_KEY})
"""All that begin with ``SFS_``."""

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
"""``NAME=VALUE`` of a variable that others set. Kubernetes sets some in every pod for each Service,
and Docker in every container for those that it is linked to. They begin with that one's name, and
look like ours where it is ``sfs`` or ``sfs-gateway``. See
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables and
https://docs.docker.com/engine/network/links/#environment-variables."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``name`` was probably meant to be, as a question; empty if none."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _check_variables(environ: Mapping[str, str]) -> None:
    """Raise ConfigError where a variable that is set looks like ours and is none. If it were
    ignored, a restriction that was meant would be missing, and nobody would notice."""
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
    """Raise ConfigError for bytes that are not UTF-8, which Python keeps as lone surrogates: they
    cannot be printed, nor sent to PostgreSQL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ConfigError(f"{name} is not UTF-8: {shown!r}. Give one that is.") from None


def make_config(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, terminal: bool
) -> Config:
    """The Config that ``flags`` (by name, None where not given) and ``environ`` ask for.

    ``terminal`` says whether the log goes to one. Raises ConfigError for a value that cannot be,
    and for a variable that looks like one of ours and is none.
    """
    _check_variables(environ)

    def variable(name: str) -> str | None:
        given = environ.get(name) or None
        if given is not None:
            check_text(name, given)
        return given

    def value(name: str) -> str | None:
        given = flags.get(name)
        if given is None:
            return variable(Flag(name, "", "").variable)
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
        gfs_read_key=variable(READ_KEY),
        gfs_write_key=variable(WRITE_KEY),
        static=value("static"),
        data=value("data") or "./sfs-data",
        database=value("database") or variable("DATABASE_URL"),
        anonymous_read=_choice("anonymous", value("anonymous") or "read", "read", "none") == "read",
        max_upload_bytes=_whole("max-upload-mb", value("max-upload-mb") or "0") * 1_000_000,
        reserve_bytes=_whole("reserve-mb", value("reserve-mb") or "256") * 1_000_000,
        max_namespaces=_whole("max-namespaces", value("max-namespaces") or "100"),
        upload_idle_timeout=_seconds("upload-idle-timeout", value("upload-idle-timeout") or "60"),
        upload_buffer_bytes=_whole(
            "upload-buffer-mb", value("upload-buffer-mb") or "128", LEAST_BUFFER_MB
        )
        * 1_000_000,
        max_streams=_whole("max-streams", value("max-streams") or "256"),
        cors_origins=_origins(value("cors-origin") or ""),
        trusted_proxies=_networks(value("trusted-proxy") or ""),
        drain_timeout=_seconds("drain-timeout", value("drain-timeout") or "30"),
        drain_grace=_seconds("drain-grace", value("drain-grace") or "2", 0.0, MAX_GRACE_SECONDS),
        log_format=_choice(
            "log-format", value("log-format") or ("text" if terminal else "json"), "text", "json"
        ),
        jwt_secret=variable("JWT_SECRET"),
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


def _whole(name: str, text: str, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least):
        raise ConfigError(f"-{name} is a whole number of {least} or more, not {text!r}.")
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


def secret_of(config: Config, *, make: bool = True) -> str | None:
    """The HS256 secret: JWT_SECRET, or on the embedded default one that is made once and kept
    under ``-data`` with mode 0600. None where a key flag says how tokens are checked.

    ``make``: make one where there is none, which is for the server alone: a command that did could
    leave one that the server cannot read, or that none uses. Raises ConfigError when it cannot be
    read or made, or there is none.
    """
    if config.jwt_public_key or config.jwks_url:
        return None
    if config.jwt_secret is not None:
        return config.jwt_secret
    path = os.path.join(config.data, SECRET_FILE)
    try:
        if make:
            os.makedirs(config.data, exist_ok=True)
            _make_secret(path)
        with open(path, encoding="ascii") as file:
            secret = file.read().strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        if make:
            raise _unusable_secret(os.strerror(error.errno or 0)) from error
        raise ConfigError(
            f"No server has made a secret for tokens under -data (here {config.data!r}): start the "
            "server once, give the -data of the server, or set the JWT_SECRET that it has."
        ) from error
    except OSError as error:
        raise _unusable_secret(os.strerror(error.errno or 0)) from error
    except UnicodeDecodeError as error:
        raise _unusable_secret("not text") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"The file {SECRET_FILE} under -data is empty or cut short: put back the one of a "
            "backup, or remove it, and the next start of the server makes a new one; "
            "tokens made before are no longer valid then."
        )
    return secret


def _unusable_secret(reason: str) -> ConfigError:
    return ConfigError(
        f"The file {SECRET_FILE} under -data cannot be read or made ({reason}): run this as the "
        "user of the server, give a -data that this user may write to, or set JWT_SECRET."
    )


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
