"""The containers of ``manifests/overlays/four-pods`` without Kubernetes.

``unshare --net --mount python -m tests.packaging.pods DIRECTORY``, as root. Each pod gets an
address, and its name leads there, as a Service without an address of its own makes it. The command
lines, the environment, the probes and the users are those of the manifests, and all but DIRECTORY
is read-only. What is different: a process listens on the address of its pod and not on all, /data
and /tmp are directories of the pod, and PostgreSQL is that of the wheel. It ends with 0 if files go
in and come out of every pod, also when volume servers, a filer and the leading master are gone, and
the maintenance does what it should.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from manifests.laptop.server import Server
from sfs_server import embedded_postgres_files as files
from sfs_server.auth import mint
from tests import dockerfile
from tests.kustomize import Object, containers, render
from tests.packaging.service import service

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
END_SECONDS = 20.0
RETRY_SECONDS = 60.0
PROGRAMS = Path(sys.executable).parent
CLUSTER_IP = "10.9.1.1"
"""Of the Service ``sfs``."""

OBJECTS = render(ROOT / "manifests" / "overlays" / "four-pods")
_, GATEWAY, IMAGE = dockerfile.parse()


class Secrets(dict[str, str]):
    """Each key has a value, once it is asked for."""

    def __missing__(self, key: str) -> str:
        self[key] = os.urandom(24).hex()
        return self[key]


SECRETS = Secrets()


def find(kind: str, name: str) -> Any:
    (one,) = (o for o in OBJECTS if o["kind"] == kind and o["metadata"]["name"] == name)
    return one


def environment(container: Object, fields: dict[str, str]) -> dict[str, str]:
    """The variables of a container."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found.update(find("ConfigMap", source["configMapRef"]["name"])["data"])
    for one in container.get("env", []):
        source = one.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = SECRETS[source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            value = fields[source["fieldRef"]["fieldPath"]]
        else:
            value = expand(one["value"], found)
        found[one["name"]] = value
    return found


def expand(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], text)


def confine(user: int, group: int) -> list[str]:
    """What starts a program as that user, who may do nothing more and cannot come to it."""
    identity = [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return ["setpriv", *identity, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


class Pod(Server):
    """One pod of a Deployment or a StatefulSet."""

    def __init__(self, workload: Object, number: int, address: str, place: Path) -> None:
        name = f"{workload['metadata']['name']}-{number}"
        home = place / name
        (container,) = containers(workload)
        security = workload["spec"]["template"]["spec"]["securityContext"]
        user = security["runAsUser"], security["runAsGroup"]
        for directory in (home, home / "data", home / "tmp"):
            directory.mkdir()
            os.chown(directory, *user)
        (home / "log").touch()
        os.chown(home / "log", *user)  # as the runtime does with what a container writes to
        self.address = address
        service = workload["spec"].get("serviceName")
        self.host = f"{name}.{service}" if service else name
        fields = {"metadata.name": name, "spec.nodeName": f"node-{number}"}
        environ = environment(container, fields)
        image = GATEWAY if "/sfs-gateway:" in container["image"] else IMAGE
        if image is GATEWAY:
            environ["PYTHONPATH"] = str(ROOT)
        program = container.get("command", dockerfile.command(image.one("ENTRYPOINT")))
        words = [*program, *container.get("args", [])]
        words = [expand(word, environ).replace("0.0.0.0", address) for word in words]
        words = [re.sub(r"=/(data|tmp)\b", rf"={home}/\1", word) for word in words]
        words = [*confine(*user), str(PROGRAMS / words[0]), *words[1:]]
        environ = {k: re.sub(r"^/(data|tmp)$", rf"{home}/\1", v) for k, v in environ.items()}
        if "SFS_ADDR" in environ:
            environ["SFS_ADDR"] = address + environ["SFS_ADDR"]
        self.port = container["ports"][0]["containerPort"]
        path = container["readinessProbe"].get("httpGet", {"path": "/healthz"})["path"]
        super().__init__(home, words, environ, f"http://{address}:{self.port}{path}")


def pods(place: Path) -> dict[str, list[Pod]]:
    """By name of their workload, the pods; with their addresses, and a file that says so."""
    found: dict[str, list[Pod]] = {}
    addresses = (f"10.9.0.{number}" for number in range(1, 255))
    lines = ["127.0.0.1 localhost", f"{next(addresses)} postgres", f"{CLUSTER_IP} sfs"]
    for one in OBJECTS:
        name = one["metadata"]["name"]
        if one["kind"] in ("Deployment", "StatefulSet") and name != "postgres":
            count = range(one["spec"]["replicas"])
            found[name] = [Pod(one, number, next(addresses), place) for number in count]
            lines += [f"{pod.address} {pod.host}" for pod in found[name]]
    for line in lines[1:]:
        address = line.split()[0]
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    (place / "hosts").write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", str(place / "hosts"), "/etc/hosts"], check=True)
    return found


def start_postgres(place: Path) -> subprocess.Popen[bytes]:
    """PostgreSQL at the address of its name, with what init.sh of the manifests makes."""
    programs, owner = Path(files.binaries()), files.account()
    files.let_pass(str(programs / "postgres"), owner)
    files.let_read(str(programs.parent))
    home = place / "postgres"
    home.mkdir()
    os.chown(home, owner.pw_uid, owner.pw_gid)
    who: dict[str, Any] = files.run_as(owner)
    make = [f"{programs}/initdb", "-D", f"{home}/pgdata", "-U", "postgres", "--encoding=UTF8"]
    access = ["--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256"]
    subprocess.run([*make, *access], check=True, stdout=subprocess.DEVNULL, cwd=home, **who)
    with (home / "pgdata" / "pg_hba.conf").open("a") as access_file:
        access_file.write("host all all all scram-sha-256\n")  # as the image has it
    settings = ["-c", "listen_addresses=postgres", "-c", f"unix_socket_directories={home}"]
    process = subprocess.Popen(
        [programs / "postgres", "-D", home / "pgdata", *settings],
        cwd=home,
        stderr=subprocess.DEVNULL,
        **who,
    )
    deadline = time.monotonic() + START_SECONDS
    while not (home / ".s.PGSQL.5432").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (container,) = containers(find("StatefulSet", "postgres"))
    script = find("ConfigMap", "postgres-init")["data"]["init.sh"]
    environ = {
        **environment(container, {}),
        "PGHOST": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
    }
    subprocess.run(["sh", "-c", script], env=environ, check=True, stdout=subprocess.DEVNULL)
    return process


def request(pod: Pod, path: str, body: bytes | None = None) -> bytes:
    """Ask a pod of SFS until it answers; for RETRY_SECONDS."""
    token = mint(SECRETS["jwt-secret"], user="alice", ttl=3600)
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        asked = urllib.request.Request(
            f"http://{pod.address}:{pod.port}{path}",
            data=body,
            method="GET" if body is None else "PUT",
            headers={"Authorization": f"Bearer {token}"},
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


def start(group: list[Pod]) -> None:
    for pod in group:
        pod.start()
    for pod in group:
        pod.wait_until_healthy(START_SECONDS)


def leader(masters: list[Pod]) -> Pod:
    for pod in masters:
        with urllib.request.urlopen(f"http://{pod.address}:{pod.port}/cluster/status") as answer:
            if b'"IsLeader":true' in answer.read().replace(b" ", b""):
                return pod
    raise RuntimeError("no master leads")


def steps(place: Path, stack: ExitStack) -> Iterator[str]:
    """What is tried, one after the other."""
    found = pods(place)
    postgres = start_postgres(place)
    stack.callback(postgres.wait)
    stack.callback(postgres.send_signal, signal.SIGQUIT)
    masters, volumes, filers, sfs = (
        found[name] for name in ("seaweedfs-master", "seaweedfs-volume", "seaweedfs-filer", "sfs")
    )
    for group in found.values():
        for pod in group:
            stack.callback(pod.kill)
    start(masters)
    start(volumes)
    for filer in filers:  # OrderedReady
        start([filer])
    start(sfs)
    proxy = stack.enter_context(
        service(CLUSTER_IP, find("Service", "sfs")["spec"]["ports"][0]["port"])
    )
    proxy.endpoints = tuple((pod.address, pod.port) for pod in sfs)
    (gateway,) = found["gateway"]
    start([gateway])
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
    assert f'"client": "{gateway.address}"' in "".join(pod.log() for pod in sfs)
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
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for words in (["--bind", str(place), str(place)], ["-o", "remount,bind,ro", "/"]):
        subprocess.run(["mount", *words], check=True)
    with ExitStack() as stack:
        begun = time.monotonic()
        for step in steps(place, stack):
            print(f"{time.monotonic() - begun:5.1f} s  {step}", flush=True)


if __name__ == "__main__":
    main()
