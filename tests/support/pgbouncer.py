"""PgBouncer, of Debian's package of that name, in front of the PostgreSQL of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="sfs-pgbouncer-") as place:
        os.chmod(place, 0o755)
        path = os.path.join(place, "pgbouncer.ini")
        with open(path, "w") as file:
            file.write(_CONFIG.format(database=database, server=server, port=port, mode=mode))
        with open(os.path.join(place, "log"), "w+") as log:
            running = subprocess.Popen(
                [program, path],
                user=user,
                group=group,
                extra_groups=None if other is None else [],
                stdout=log,
                stderr=log,
            )
            try:
                _wait(port, running)
                yield f"postgresql://postgres@127.0.0.1:{port}/{database}"
            except BaseException:
                log.seek(0)
                print(log.read())
                raise
            finally:
                running.terminate()
                running.wait(START_SECONDS)


def _wait(port: int, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("pgbouncer does not start")
