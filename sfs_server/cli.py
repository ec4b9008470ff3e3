"""The command line: ``sfs-server [flags]``, and ``token``, ``backup`` and ``restore``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from sfs_server import __version__
from sfs_server.auth import mint
from sfs_server.config import FLAGS, Config, ConfigError, Flag, make_config, secret_of

_DURATION = re.compile(r"([0-9]{1,12})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_server(arguments: Sequence[str]) -> Config:
    """The Config of ``arguments`` and the environment. Exits on ``-help`` and on unknown flags."""
    parser = _parser(
        "sfs-server", "Store and serve files. More: sfs-server token | backup | restore -help."
    )
    parser.add_argument("-version", "--version", action="version", version=__version__)
    return _config(parser, arguments)[0]


def token(arguments: Sequence[str]) -> str:
    """The token that ``sfs-server token`` with ``arguments`` prints. Raises ConfigError."""
    parser = _parser("sfs-server token", "Print a token that signs a user in.")
    parser.add_argument("-user", "--user", required=True, metavar="NAME", help="whom it stands for")
    parser.add_argument("-admin", "--admin", action="store_true", help="the user is an admin")
    parser.add_argument(
        "-ttl", "--ttl", default="24h", metavar="TIME", help="how long it is good: 90s, 24h, 7d"
    )
    config, parsed = _config(parser, arguments)
    secret = secret_of(config)
    if secret is None:
        raise ConfigError("With a public key tokens are made by whoever has the private one.")
    duration = _DURATION.fullmatch(parsed.ttl)
    if duration is None:
        raise ConfigError(f"-ttl is a number and s, m, h or d, like 24h, not {parsed.ttl!r}.")
    seconds = int(duration.group(1)) * _UNITS[duration.group(2)]
    try:
        return mint(
            secret,
            user=parsed.user,
            admin=parsed.admin,
            ttl=seconds,
            issuer=config.jwt_issuer,
            audience=config.jwt_audience,
        )
    except ValueError as error:
        raise ConfigError(f"No such token can be made: {error}.") from error


def parse_backup(arguments: Sequence[str]) -> tuple[Config, str, bool]:
    """What ``sfs-server backup`` backs up, where to, and whether without files."""
    parser = _parser(
        "sfs-server backup", "Copy files and namespaces, also while a server has them."
    )
    parser.add_argument("-to", "--to", required=True, metavar="DIR", help="new or empty directory")
    parser.add_argument("-tables", "--tables", action="store_true", help="leave the files out")
    config, parsed = _config(parser, arguments)
    return config, parsed.to, parsed.tables


def parse_restore(arguments: Sequence[str]) -> tuple[Config, str]:
    """Where ``sfs-server restore`` restores to, and from where."""
    parser = _parser("sfs-server restore", "Put a backup where there is nothing yet.")
    parser.add_argument("-from", "--from", required=True, dest="source", metavar="DIR", help="it")
    config, parsed = _config(parser, arguments)
    return config, parsed.source


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name,
        description=description,
        allow_abbrev=False,
        add_help=False,
        epilog="Each flag has an environment variable SFS_<NAME>; the flag wins. "
        "JWT_SECRET and DATABASE_URL are read too.",
    )
    parser.add_argument("-h", "-help", "--help", action="help", help="show this and exit")
    for flag in FLAGS:
        _add(parser, flag)
    return parser


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    names = (f"-{flag.name}", f"--{flag.name}")
    action = "append" if flag.repeatable else "store"
    parser.add_argument(*names, action=action, metavar=flag.placeholder, help=flag.help)


def _config(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> tuple[Config, argparse.Namespace]:
    parsed = parser.parse_args(arguments)
    flags = {flag.name: getattr(parsed, flag.name.replace("-", "_")) for flag in FLAGS}
    flags = {name: ",".join(v) if isinstance(v, list) else v for name, v in flags.items()}
    return make_config(flags, os.environ, terminal=sys.stderr.isatty()), parsed
