"""The command line: ``sfs-server [flags]``, and ``token``, ``backup`` and ``restore``.

Every command takes all flags of the server, so that the command line of the server can be
repeated; it uses those that its help shows. A flag must be given by its whole name: argparse would
take ``-v`` for the only flag that starts with it (``allow_abbrev`` is about two dashes only), and a
flag that is added later would change what ``-v`` means.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from sfs_server import __version__
from sfs_server.auth import mint, secret_of
from sfs_server.config import (
    FLAGS,
    Config,
    ConfigError,
    Flag,
    check_text,
    duration,
    make_config,
    nearest,
)


def parse_server(arguments: Sequence[str]) -> Config:
    """The Config of ``arguments`` and the environment. Exits for ``-help`` and unknown flags."""
    parser = _Parser(
        "sfs-server", "Store and serve files. More: sfs-server token | backup | restore -help."
    )
    parser.flag("version", action="version", version=__version__)
    return parser.config(arguments)[0]


def token(arguments: Sequence[str]) -> str:
    """The token that ``sfs-server token`` with ``arguments`` prints. Raises ConfigError."""
    parser = _Parser("sfs-server token", "Print a token that signs a user in.")
    parser.flag("user", required=True, metavar="NAME", help="the user who is signed in by it")
    parser.flag("admin", action="store_true", help="the user is an admin")
    parser.flag("ttl", default="24h", metavar="TIME", help="how long it is valid: 90s, 24h, 7d")
    config, parsed = parser.config(arguments)
    secret = secret_of(config, make=False)
    if secret is None:
        raise ConfigError("With a public key, tokens are made where the private key is.")
    seconds = duration("ttl", parsed.ttl)
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
    """The arguments of ``sfs-server backup``: the Config of what is backed up, the directory of the
    backup, and whether the files are left out."""
    parser = _Parser(
        "sfs-server backup", "Copy files and namespaces, also while a server is running."
    )
    parser.flag("to", required=True, metavar="DIR", help="new or empty directory")
    parser.flag("tables", action="store_true", help="leave the files out")
    config, parsed = parser.config(arguments)
    return config, parsed.to, parsed.tables


def parse_restore(arguments: Sequence[str]) -> tuple[Config, str]:
    """The arguments of ``sfs-server restore``: the Config of what is restored to, and the directory
    of the backup."""
    parser = _Parser("sfs-server restore", "Restore a backup to an empty store and database.")
    parser.flag("from", required=True, metavar="DIR", help="the directory of a backup")
    config, parsed = parser.config(arguments)
    return config, vars(parsed)["from"]


def _help(flag: Flag[Any]) -> str:
    """What ``-help`` says of a flag of the server."""
    default = f" (default: {flag.default})" if flag.default else ""
    return flag.meaning.replace("`", "") + default


class _Parser:
    """The argument parser of one command: its own flags, then those of the server."""

    def __init__(self, name: str, description: str) -> None:
        self._parser = argparse.ArgumentParser(
            name,
            usage=f"{name} [flags]; {name} -help names them",
            description=description,
            allow_abbrev=False,
            add_help=False,
            epilog="Each flag has an environment variable SFS_<NAME>; the flag wins. "
            "JWT_SECRET and DATABASE_URL are read too.",
        )
        self._command = name.partition(" ")[2]
        self._names: set[str] = {"-h"}
        self._parser.add_argument("-h", action="help", help=argparse.SUPPRESS)
        self.flag("help", action="help", help="show this and exit")

    def flag(self, name: str, **options: Any) -> None:
        """Add a flag, with one dash and with two; ``options`` are those of ``add_argument``."""
        names = f"-{name}", f"--{name}"
        self._names.update(names)
        self._parser.add_argument(*names, **options)

    def config(self, arguments: Sequence[str]) -> tuple[Config, argparse.Namespace]:
        """The Config of ``arguments`` and the environment, and the flags of the command itself.
        Exits with 2 for an unknown flag. Raises ConfigError."""
        for flag in FLAGS:
            used = not self._command or self._command in flag.commands
            self.flag(
                flag.name,
                action="append" if flag.repeatable else "store",
                metavar=flag.placeholder,
                help=_help(flag) if used else argparse.SUPPRESS,
            )
        self._check_names(arguments)
        parsed = self._parser.parse_args(arguments)
        values = {name.replace("_", "-"): value for name, value in vars(parsed).items()}
        for name, value in values.items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    check_text(f"-{name}", text)
        flags = {flag.name: values[flag.name] for flag in FLAGS}
        flags = {name: ",".join(v) if isinstance(v, list) else v for name, v in flags.items()}
        return make_config(flags, os.environ, terminal=sys.stderr.isatty()), parsed

    def _check_names(self, arguments: Sequence[str]) -> None:
        for argument in arguments:
            name = argument.partition("=")[0]
            if re.match("-[^0-9.]", name) and name not in self._names:
                self._parser.error(f"unknown flag {name}{nearest(name, self._names)}")
