"""``python -m bench [NAME…]``: run the measurements, print one table in Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from bench import (
    cluster,
    downloads,
    fairness,
    listing,
    memory,
    page,
    resume,
    small,
    uploads,
    watchers,
)
from bench.servers import (
    COPYPARTY_FLAGS,
    Place,
    find,
    find_copyparty,
    find_tus_server,
)
from bench.setting import Setting
from bench.table import GIB, MIB, NOT_INSTALLED, Row, render
from tools.node import find_node

MEASURES: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "get": downloads.measure,
    "small": small.measure,
    "put": uploads.measure_raw,
    "form": uploads.measure_form,
    "resume": resume.measure,
    "memory": memory.measure,
    "fairness": fairness.measure,
    "list": listing.measure,
    "watchers": watchers.measure,
    "page": page.measure,
    "cluster-get": cluster.measure_get,
    "cluster-small": cluster.measure_small,
    "cluster-first": cluster.measure_first,
    "cluster-put": cluster.measure_put,
    "cluster-resume": resume.measure_cluster,
    "cluster-memory": cluster.measure_memory,
    "cluster-list": listing.measure_cluster,
}

NEEDED_DISK = 16 * GIB


def main() -> None:
    """Run what the command line names."""
    # A bench that is ended ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for ten thousand watchers
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--dir", help="where the data goes; the disk to be measured")
    parser.add_argument("--quick", action="store_true", help="little of everything, to try it out")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(MEASURES))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    with tempfile.TemporaryDirectory(prefix="sfs-bench-", dir=arguments.dir) as directory:
        setting = _setting(Place(directory), quick=arguments.quick)
        if shutil.disk_usage(directory).free < setting.big * NEEDED_DISK // GIB:
            parser.error("there is too little room on the disk")
        print(_machine(), flush=True)
        setting.prepare()
        rows = []
        for name in arguments.names or MEASURES:
            for row in MEASURES[name](setting):
                rows.append(row)
                print(f"{name}: {row.work}: {row.ours}", file=sys.stderr, flush=True)
        print(render(rows))


def _setting(place: Place, *, quick: bool) -> Setting:
    if not quick:
        return Setting(place)
    return Setting(
        place,
        big=64 * MIB,
        rounds=1,
        wrk_seconds=1,
        many_seconds=2.0,
        many_least=16 * MIB,
        listed=5000,
        requests=300,
        watchers=100,
        idle_watchers=1000,
    )


def _machine() -> str:
    node = find_node()
    packages = "".join(f", {name} {_version(name)}" for name in ("aiohttp", "uvloop"))
    peers = {
        "nginx": _output(_command("nginx"), "-v", r"nginx/(\S+)"),
        "wrk": _output(_command("wrk"), "-v", r"wrk (\S+)"),
        "copyparty": _output(find_copyparty(), "--version", r'copyparty"? v(\S+)'),
        "Node": _output([node] if node else [], "--version", r"v(\S+)"),
        "@tus/server": find_tus_server() or NOT_INSTALLED,
    }
    lines = (
        f"- {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}; "
        f"load before the run {os.getloadavg()[0]:.1f}",
        f"- Python {platform.python_version()}{packages}",
        *(f"- {name} {found}" for name, found in peers.items()),
        f"- copyparty's flags: {' '.join(COPYPARTY_FLAGS)}",
        "- page cache warm, clients on 127.0.0.1, runs alternate, medians; nginx with one worker",
        "",
    )
    return "\n".join(lines)


def _processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _command(program: str) -> list[str]:
    path = find(program)
    return [] if path is None else [path]


def _output(command: Sequence[str], flag: str, pattern: str) -> str:
    if not command:
        return NOT_INSTALLED
    result = subprocess.run([*command, flag], capture_output=True, text=True)
    found = re.search(pattern, result.stdout + result.stderr)
    return found.group(1) if found else "of an unknown version"


if __name__ == "__main__":
    main()
