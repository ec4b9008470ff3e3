"""PgBouncer, of Debian's package of that name, in front of the PostgreSQL of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from manifests.laptop.server import listens
from manifests.laptop.weed import free_ports
from tests.support.launcher import Program
from tests.support.waiting import wait_until

START_SECONDS = 10.0

_CONFIG = """
[databases]
{database} = host=127.0.0.1 port={server} dbname={database} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 40
"""


@contextmanager
def pgbouncer(server: int, database: str, mode: str) -> Iterator[str]:
    """The URL of ``database``, of the PostgreSQL at the port ``server``, through a pooler with
    ``pool_mode = mode``. Skips the test where PgBouncer is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        assert "CI" not in os.environ, "CI must have pgbouncer"
        pytest.skip("pgbouncer is not installed")
    # It refuses to be root.
    other = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user, group = (None, None) if other is None else (other.pw_uid, other.pw_gid)
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sfs-pgbouncer-") as place:
        os.chmod(place, 0o755)
        path = os.path.join(place, "pgbouncer.ini")
        with open(path, "w") as file:
            file.write(_CONFIG.format(database=database, server=server, port=port, mode=mode))
        groups: list[int] | None = None if other is None else []
        with Program(program, path, user=user, group=group, extra_groups=groups) as running:
            try:
                wait_until(lambda: listens(port) or not running.alive, START_SECONDS)
                assert running.alive
                yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
            finally:
                print(running.log)  # pytest shows it where the test fails
