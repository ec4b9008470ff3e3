"""The containers of ``manifests/overlays/four-pods`` without Kubernetes.

In a network and a file system of its own (see ALONE; as root) each pod gets an
address, and its name leads there, as a Service without an address of its own makes it; the Service
of SFS has one. The command lines, the environment, the probes and the users are those of the
manifests, and all but one directory is read-only. What is different: a process listens on the
address of its pod and not on all, /data and /tmp are directories of the pod, and PostgreSQL is that
of the wheel.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from manifests.laptop.server import Server, responds
from sfs_server.postgres import files
from tests.packaging.opened import opened
from tests.packaging.service import Service, service
from tests.support import dockerfile
from tests.support.kustomize import Object, containers, render

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Before a program that calls ``isolate``: what it leaves running ends with it."""
PROGRAMS = Path(sys.executable).parent
NETWORK = "10.9.0.0/16"
CLUSTER_IP = "10.9.255.1"
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
        url = f"http://{address}:{self.port}{path}"
        super().__init__(home, words, environ, partial(responds, url))

    @property
    def endpoint(self) -> tuple[str, int]:
        return self.address, self.port


def pods(place: Path) -> dict[str, list[Pod]]:
    """By name of their workload, the pods; with their addresses, and a file that says so."""
    found: dict[str, list[Pod]] = {}
    addresses = (f"10.9.0.{number}" for number in range(1, 255))
    lines = ["127.0.0.1 localhost", f"{next(addresses)} postgres", f"{CLUSTER_IP} sfs"]
    subprocess.run(["ip", "address", "add", NETWORK, "dev", "lo"], check=True)
    for one in OBJECTS:
        name = one["metadata"]["name"]
        if one["kind"] in ("Deployment", "StatefulSet") and name != "postgres":
            count = range(one["spec"]["replicas"])
            found[name] = [Pod(one, number, next(addresses), place) for number in count]
            lines += [f"{pod.address} {pod.host}" for pod in found[name]]
    (place / "hosts").write_text("\n".join(lines) + "\n")
    subprocess.run(["mount", "--bind", str(place / "hosts"), "/etc/hosts"], check=True)
    return found


def start_postgres(place: Path) -> subprocess.Popen[bytes]:
    """PostgreSQL at the address of its name, with what init.sh of the manifests makes."""
    programs, nobody = Path(files.binaries()), pwd.getpwnam("nobody")
    home = place / "postgres"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    who: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
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
    ask = [str(programs / "psql"), "-h", str(home), "-U", "postgres", "-c", "SELECT"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    while subprocess.run(ask, check=False, **quiet).returncode and time.monotonic() < deadline:
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


def start(group: list[Pod]) -> None:
    for pod in group:
        pod.start()
    for pod in group:
        pod.wait_until_ready(START_SECONDS)


def bring_up(place: Path, stack: ExitStack) -> tuple[dict[str, list[Pod]], Service]:
    """Start everything; the pods by name of their workload, and the Service ``sfs``."""
    found = pods(place)
    postgres = start_postgres(place)
    stack.callback(postgres.wait)
    stack.callback(postgres.send_signal, signal.SIGQUIT)
    for group in found.values():
        for pod in group:
            stack.callback(pod.kill)
    start(found["seaweedfs-master"])
    start(found["seaweedfs-volume"])
    for filer in found["seaweedfs-filer"]:  # OrderedReady
        start([filer])
    start(found["sfs"])
    (port,) = find("Service", "sfs")["spec"]["ports"]
    proxy = stack.enter_context(service(CLUSTER_IP, port["port"]))
    proxy.endpoints = tuple(pod.endpoint for pod in found["sfs"])
    start(found["gateway"])
    return found, proxy


def isolate(place: Path) -> None:
    """A network of its own, and nothing that can be written to but ``place``; see ALONE.

    The users of the pods can pass to the programs, which are for everybody to read: tox makes a
    directory that is not.
    """
    installed = Path(files.binaries()).parent
    for directory in installed.parents[:-1]:
        directory.chmod(directory.stat().st_mode | stat.S_IXOTH)
    subprocess.run(["chmod", "-R", "a+rX", installed], check=True)
    if words := opened(place):
        subprocess.run([*words, "true"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for words in (["--bind", str(place), str(place)], ["-o", "remount,bind,ro", "/"]):
        subprocess.run(["mount", *words], check=True)
