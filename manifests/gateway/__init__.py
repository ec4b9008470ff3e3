"""The gateway in front of SFS: nginx of Debian with its Lua module,
and the files that say what it does.

``find`` looks for the program, and ``render`` writes what it needs into a directory of its own and
says how it is started there. ``python -m manifests.gateway`` does both. Why it does what:
``docs/gateway.md``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
INSTALL = "apt-get install nginx-light libnginx-mod-http-lua"
LARGEST = 8 * 1024 * 1024
"""Bytes. A larger file is never stored: it would push out what is asked for often, and its readers
would wait for the disk of the gateway and not for that of the store."""

HOLD_SECONDS = 8
"""More than TRUST_SECONDS of ``sfs_server/database/listener.py``, within which all processes of
SFS see a change of a namespace, and SILENT_SECONDS of ``gfs/seaweedfs/watch.py``, for that of a
file."""


@dataclass(frozen=True)
class Nginx:
    """Where it is."""

    program: Path
    modules: Path
    lua: Path


def find() -> Nginx | None:
    """An nginx that has the Lua module, installed or unpacked from Debian's packages; or None."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    for directory in path.split(os.pathsep):
        program = shutil.which("nginx", path=directory) if directory else None
        if program is not None:
            root = Path(program).parent.parent
            found = Nginx(Path(program), root / "lib/nginx/modules", root / "share/lua/5.1")
            module = found.modules / "ngx_http_lua_module.so"
            if module.exists() and (found.lua / "resty" / "core.lua").exists():
                return found
    return None


def render(
    nginx: Nginx,
    home: Path,
    listen: str,
    upstreams: Sequence[tuple[str, int]],
    *,
    workers: str = "auto",
    cache_mb: int = 1024,
    largest: int = LARGEST,
    idle_seconds: int = 75,
    drain_seconds: int = 30,
    check_seconds: float = 1,
    hold_seconds: float = HOLD_SECONDS,
    first_hold_seconds: float = 0,
    generations: str = "16m",
    access_log: str | None = None,
    trusted_proxies: Sequence[str] = (),
    requests: int = 1024,
    streams: int = 256,
) -> list[str]:
    """Write the configuration into ``home``, which exists, and return the command that starts the
    gateway in the foreground. It listens on ``listen``, ADDRESS:PORT, in front of ``upstreams``:
    IP addresses (a name would be looked up once) and ports of processes of SFS that share
    everything. Nothing is kept for the ``first_hold_seconds`` of its life. ``generations`` is the
    memory for changes: 16 MB hold some 50,000, for five minutes. Its log goes to standard error,
    that of requests to ``access_log``, or ``access.log`` in ``home``. ``trusted_proxies`` are the
    addresses and networks of those in front whose X-Forwarded-For says who the client is. One
    client may have so many ``requests`` under way, of these so many event ``streams``."""
    values = {
        "user": "user root;" if os.geteuid() == 0 else "",
        "workers": workers,
        "drain": str(drain_seconds),
        "home": str(home),
        "modules": str(nginx.modules),
        "lua": str(nginx.lua),
        "scripts": str(HERE),
        "listen": listen,
        "upstreams": ", ".join(f'{{ "{address}", {port} }}' for address, port in upstreams),
        "largest": str(largest),
        "cache_mb": str(cache_mb),
        "idle": str(idle_seconds),
        "check": str(check_seconds),
        "hold": str(hold_seconds),
        "first_hold": str(first_hold_seconds),
        "trusted": " ".join(f"set_real_ip_from {network};" for network in trusted_proxies),
        "access_log": access_log or str(home / "access.log"),
        "generations": generations,
        "requests": str(requests),
        "streams": str(streams),
    }
    template = (HERE / "nginx.conf").read_text()
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
    path = home / "nginx.conf"
    path.write_text(text)
    return [str(nginx.program), "-p", str(home), "-e", "stderr", "-c", str(path)]
