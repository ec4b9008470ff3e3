"""The containers of ``manifests/overlays/four-pods`` make a cluster that loses servers and no file.

``python -m tests.packaging.cluster DIRECTORY``, behind ALONE of ``pods.py``, which says what they
are. It ends with 0 if files go in and come out of every pod, and of the gateway, also
when volume servers, a filer and the leading master are gone, and the maintenance does what it
should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sfs_server.auth.tokens import mint
from tests.packaging.pods import (
    CLUSTER_IP,
    PROGRAMS,
    SECRETS,
    Pod,
    bring_up,
    environment,
    find,
    isolate,
)
from tests.support.credentials import authorization
from tests.support.kustomize import containers

END_SECONDS = 20.0
RETRY_SECONDS = 60.0


def request(pod: Pod, path: str, body: bytes | None = None) -> bytes:
    """Ask a pod of SFS until it answers; for RETRY_SECONDS."""
    token = mint(SECRETS["jwt-secret"], user="alice", ttl=3600)
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        asked = urllib.request.Request(
            f"http://{pod.address}:{pod.port}{path}",
            data=body,
            method="GET" if body is None else "PUT",
            headers=authorization(token),
        )
        try:
            with urllib.request.urlopen(asked, timeout=RETRY_SECONDS) as answer:
                found: bytes = answer.read()
                return found
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def maintain(name: str, place: Path) -> str:
    """Run a CronJob; what it says."""
    (container,) = containers(find("CronJob", f"seaweedfs-{name}"))
    script = find("ConfigMap", "seaweedfs-maintenance")["data"]["weed-shell.sh"]
    (place / "weed-shell.sh").write_text(script.replace("/tmp/", f"{place}/"))
    environ = {**environment(container, {}), "PATH": f"{PROGRAMS}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", str(place / "weed-shell.sh"), *container["args"]],
        env={**environ, "HOME": str(place), "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        timeout=120,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout}"
    return done.stdout


def leader(masters: list[Pod]) -> Pod:
    for pod in masters:
        url = f"http://{pod.address}:{pod.port}/cluster/status"
        with urllib.request.urlopen(url, timeout=RETRY_SECONDS) as answer:
            if b'"IsLeader":true' in answer.read().replace(b" ", b""):
                return pod
    raise RuntimeError("no master leads")


def steps(place: Path, stack: ExitStack) -> Iterator[str]:
    """What is tried, one after the other."""
    found, _ = bring_up(place, stack)
    masters, volumes, filers, sfs = (
        found[name] for name in ("seaweedfs-master", "seaweedfs-volume", "seaweedfs-filer", "sfs")
    )
    (gateway,) = found["gateway"]
    yield "every pod is ready"

    bodies = {f"file-{number}": os.urandom(3_000_000 * number + 5) for number in range(8)}

    def check() -> None:
        for number, (name, body) in enumerate(bodies.items()):
            assert request(sfs[number % 4], f"/storage/default/{name}") == body, name

    for number, (name, body) in enumerate(bodies.items()):
        request(sfs[number % 4], f"/storage/default/{name}", body)
    check()
    yield "files go in and come out"

    for body in (b"first", b"second"):
        request(gateway, "/storage/default/seen", body)
        assert request(gateway, "/storage/default/seen") == body
    lines = "".join(pod.log() for pod in sfs).splitlines()
    assert not [line for line in lines if CLUSTER_IP in line and "/storage/" in line]
    yield "the gateway passes them on, and says for whom"

    for name in ("repair", "orphans", "vacuum"):
        maintain(name, place)
    check()
    yield "the maintenance leaves them whole"

    volumes[0].kill()
    check()
    bodies["after"] = os.urandom(9_000_000)
    request(sfs[0], "/storage/default/after", bodies["after"])
    maintain("repair", place)
    volumes[1].kill()
    check()
    yield "a node is lost, its chunks get new replicas, and another one is lost"

    filers[0].kill()
    leader(masters).kill()
    bodies["last"] = os.urandom(5_000_000)
    request(sfs[1], "/storage/default/last", bodies["last"])
    check()
    yield "a filer and the leading master are lost"

    sfs[2].signal(signal.SIGTERM)
    sfs[2].end(END_SECONDS)
    assert "are cut" not in sfs[2].log()
    yield "a pod of SFS ends as it should"


def main() -> None:
    place = Path(sys.argv[1])
    isolate(place)
    with ExitStack() as stack:
        started = time.monotonic()
        for step in steps(place, stack):
            print(f"{time.monotonic() - started:5.1f} s  {step}", flush=True)


if __name__ == "__main__":
    main()
