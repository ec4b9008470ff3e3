"""A rolling restart of the four pods of SFS, as a Deployment does it, under load.

``python -m tests.rehearsal.roll DIRECTORY``, behind ALONE of ``tests/packaging/pods.py``, prints
what happened, as JSON. All of ``manifests/overlays/four-pods`` runs, as it says there, and clients
use it through its gateway (``load.py``). Then one pod after the other is replaced, by the numbers
of the manifests:

- A pod is deleted. Its successor starts at once (a pod that ends counts neither for maxSurge nor
  for topologySpreadConstraints), at another address. Meanwhile it sleeps (preStop), gets SIGTERM,
  and is killed when its grace period is over.
- The Service forgets it LAG_SECONDS after it was deleted, which is why it sleeps; connections that
  it has go on.
- When the successor is ready the Service knows it, and when it has been that for minReadySeconds,
  the next pod is deleted (maxUnavailable: 1), whether or not the one before has ended.

All these times are multiplied by SCALE, in the manifests and here, because a pod would do little
but wait otherwise. Their proportions stay; what is not scaled is harder to meet than it is: the
second for which the gateway keeps an idle connection must be less than -drain-grace, and transfers
of TRANSFER_SECONDS must end within -drain-timeout.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
import urllib.request
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.packaging.pods import SECRETS, START_SECONDS, Pod, bring_up, find, isolate
from tests.packaging.service import Service
from tests.rehearsal.account import Account
from tests.rehearsal.load import Load

SCALE = 0.4
LAG_SECONDS = 1.5 * SCALE
GRACE_SECONDS = float(find("ConfigMap", "sfs-settings")["data"]["SFS_DRAIN_GRACE"]) * SCALE
LATE_SECONDS = 2.0
"""What a pod that drains may still take for a PATCH whose last byte has come."""

SOCKET_BYTES = "4096 65536 262144"
"""What the kernel holds of a connection: at least, at first, at most."""


class Roll:
    """The Deployment of SFS, its pods, and the Service that leads to those that are ready."""

    def __init__(self, place: Path, pods: list[Pod], service: Service) -> None:
        self.pods = list(pods)
        self.old = list(pods)
        self._place = place
        self._service = service
        deployment = find("Deployment", "sfs")["spec"]
        rolling = deployment["strategy"]["rollingUpdate"]
        assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (0, 1), "this is what it can do"
        spec = deployment["template"]["spec"]
        hook = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        self._min_ready = deployment["minReadySeconds"] * SCALE
        self._pre_stop = hook * SCALE
        self._grace = spec["terminationGracePeriodSeconds"] * SCALE
        self.running: list[dict[str, int]] = []
        """By pod that ended, its transfers when it got SIGTERM."""
        self.ends: list[float] = []
        """By pod that ended, the seconds from SIGTERM on."""
        self.parts: list[dict[str, int]] = []
        """By pod that ended, the PATCHes that its drain ended, and those that it waited for."""

    async def run(self) -> None:
        """Replace all, and wait until they have ended."""
        async with asyncio.TaskGroup() as group:
            for number, pod in enumerate(self.old):
                group.create_task(self._forget(pod))
                group.create_task(self._end(pod))
                await self._replace(number, pod)

    async def _replace(self, number: int, pod: Pod) -> None:
        count = len(self.old) + number
        new = Pod(find("Deployment", "sfs"), count, f"10.9.1.{count}", self._place)
        self.pods[number] = new
        new.start()
        await asyncio.to_thread(new.wait_until_ready, START_SECONDS)
        self._service.endpoints = (*self._service.endpoints, new.endpoint)
        await asyncio.sleep(self._min_ready)

    async def _end(self, pod: Pod) -> None:
        deleted = time.monotonic()
        await asyncio.sleep(self._pre_stop)
        self.running.append(await asyncio.to_thread(transfers_of, pod))
        pod.signal(signal.SIGTERM)
        told, drains = time.monotonic(), time.time() + GRACE_SECONDS
        while pod.alive and time.monotonic() < deleted + self._grace:
            await asyncio.sleep(0.05)
        assert not pod.alive, f"{pod.name} is killed at the end of its grace period"
        self.ends.append(time.monotonic() - told)
        self.parts.append(parts_of(pod, drains))

    async def _forget(self, pod: Pod) -> None:
        await asyncio.sleep(LAG_SECONDS)
        known = self._service.endpoints
        self._service.endpoints = tuple(one for one in known if one != pod.endpoint)


def transfers_of(pod: Pod) -> dict[str, int]:
    """How many transfers a pod has, by direction."""
    url = f"http://{pod.address}:{pod.port}/metrics"
    with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
        text = answer.read().decode()
    found = re.findall(r'^sfs_transfers_in_flight\{direction="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {direction: int(float(value)) for direction, value in found}


def parts_of(pod: Pod, drains: float) -> dict[str, int]:
    """The PATCHes that a pod had when it started to drain, at the Unix time ``drains``: how many it
    ended, and for how many it waited instead."""
    found = {"ended": 0, "waited for": 0}
    for line in (pod.home / "log").read_text().splitlines():
        if '"method": "PATCH"' in line:
            part = json.loads(line)
            late = datetime.fromisoformat(part["time"]).timestamp() > drains + LATE_SECONDS
            found["ended"] += part["status"] == 503
            found["waited for"] += part["status"] == 204 and late
    return found


def hasten() -> None:
    """Scale the settings of SFS that the roll waits for."""
    data = find("ConfigMap", "sfs-settings")["data"]
    for name in ("SFS_DRAIN_GRACE", "SFS_DRAIN_TIMEOUT"):
        data[name] = str(float(data[name]) * SCALE)


async def rehearse(found: dict[str, list[Pod]], service: Service, place: Path) -> dict[str, Any]:
    """The report."""
    account = Account()
    (gateway,) = found["gateway"]
    load = Load(gateway.endpoint, SECRETS["jwt-secret"], account)
    roll = Roll(place, found["sfs"], service)
    before = [pod.pid for pod in roll.pods]
    try:
        async with load.running():
            await roll.run()
        await load.verify()
    finally:
        after = [pod.pid for pod in roll.pods]
        for pod in roll.pods:
            if pod not in found["sfs"]:
                pod.kill()
    logs = [(pod.home / "log").read_text() for pod in roll.old + roll.pods]
    return {
        **account.report(),
        "seconds": round(load.seconds, 1),
        "pids": {"before": before, "after": after},
        "transfers at SIGTERM": roll.running,
        "PATCHes of a drain": roll.parts,
        "seconds after SIGTERM": [round(one, 1) for one in roll.ends],
        "cut": sum("are cut" in log for log in logs),
        "tracebacks": sum("Traceback" in log for log in logs),
        "requests of each": [log.count('"/storage/') for log in logs],
    }


def main() -> None:
    place = Path(sys.argv[1])
    isolate(place)
    hasten()
    for name in ("tcp_rmem", "tcp_wmem"):  # else 16 MB of a download would be on their way
        Path("/proc/sys/net/ipv4", name).write_text(SOCKET_BYTES)
    with ExitStack() as stack:
        found, service = bring_up(place, stack)
        print(json.dumps(asyncio.run(rehearse(found, service, place)), indent=1), flush=True)


if __name__ == "__main__":
    main()
