"""A network of its own for a cluster, each server of which can be cut off from any other one.

Every server is in a network namespace, with one interface, on a bridge that is in a namespace too:
nothing of it is seen from outside, and addresses are of NETWORK. A silent cut is a wrong neighbour
entry: frames go to nobody, and nobody says so. It takes root, and the program ``ip``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from manifests.laptop.server import Server
from manifests.laptop.weed import Sizes, flags, program

NETWORK = "10.213.77"
HTTP, GRPC = 9000, 19000
NOBODY = "02:00:00:00:00:01"
HEALTH_SECONDS = 1.0

_CLONE_NEWNET = 0x40000000
_T = TypeVar("_T")


def why_not() -> str:
    """Why there can be no such network here; nothing if there can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if shutil.which("ip") is None:
        return "needs the program ip"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "network namespaces are not allowed here"


def ip(*words: str) -> None:
    """Run the program ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Host:
    """One machine of the network. ``name`` is that of its namespace."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self.inside = ("ip", "netns", "exec", name)
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def run(self, call: Callable[[], _T]) -> _T:
        """What ``call`` returns, run inside; blocks."""
        return self._thread.submit(call).result()

    def socket(self) -> socket.socket:
        """A new socket for TCP, which is inside for good."""
        return self.run(socket.socket)

    def get(self, address: str, port: int, path: str) -> bytes:
        """The whole response to a GET from inside; blocks. Raises OSError."""
        with self.socket() as sock:
            sock.settimeout(HEALTH_SECONDS)
            sock.connect((address, port))
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            found = bytearray()
            while data := sock.recv(65536):
                found += data
            return bytes(found)

    def close(self) -> None:
        self._thread.shutdown()

    def _enter(self) -> None:
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)


class Network:
    """The hosts, and the cuts between them. Make it with ``network``."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._hosts = hosts
        self._cuts: set[tuple[str, str]] = set()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def cut(self, one: str, *others: str) -> None:
        """Let nothing pass between ``one`` and the others, in silence."""
        for other in others:
            self._cuts |= {(one, other), (other, one)}
        for here, there in self._cuts:
            address = self[there].address
            ip("-n", self[here].name, *"neigh replace".split(), address, *_WRONG)

    def heal(self) -> None:
        """Mend all cuts."""
        while self._cuts:
            here, there = self._cuts.pop()
            ip("-n", self[here].name, "neigh", "del", self[there].address, "dev", "eth0")


_WRONG = ("lladdr", NOBODY, "nud", "permanent", "dev", "eth0")


@contextmanager
def network(names: list[str]) -> Iterator[Network]:
    """A network of hosts of these names. Nothing is left of it afterwards."""
    prefix = f"sfs{os.getpid()}"
    middle = f"{prefix}-bridge"
    with ExitStack() as stack:

        def namespace(name: str) -> None:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")

        namespace(middle)
        ip("-n", middle, *"link add bridge type bridge".split())
        ip("-n", middle, *"link set bridge up".split())
        hosts = {}
        for number, name in enumerate(names, 1):
            inner, port = f"{prefix}-{name}", f"port{number}"
            namespace(inner)
            ip("-n", inner, *f"link add eth0 type veth peer name {port} netns {middle}".split())
            ip("-n", middle, *f"link set {port} master bridge up".split())
            host = hosts[name] = Host(inner, number)
            stack.callback(host.close)
            ip("-n", inner, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", inner, *"link set eth0 up".split())
        yield Network(hosts)


class HostedWeed(Server):
    """A server of SeaweedFS on a host; its kind and number are the name of ``home``."""

    def __init__(self, home: Path, host: Host, masters: str, settings: dict[str, str]) -> None:
        weed, kind = program(), home.name.rstrip("0123456789")
        if weed is None:
            raise RuntimeError("the extra [cluster] is not installed")
        self._host = host
        self.dotted = f"{host.address}:{HTTP}.{GRPC}"
        command = [
            *(*host.inside, weed, "-logtostderr=true", kind),
            *(f"-ip={host.address}", f"-ip.bind={host.address}"),
            *(f"-port={HTTP}", f"-port.grpc={GRPC}"),
            *flags(kind, home, masters or self.dotted, 1, Sizes()),
        ]
        self._path = "/cluster/healthz" if kind == "master" else "/healthz"
        super().__init__(home, command, settings, self.responds)

    def get(self, path: str) -> bytes:
        """The whole response to a GET; blocks. Raises OSError."""
        return self._host.get(self._host.address, HTTP, path)

    def responds(self) -> bool:
        """Whether it says that it is healthy."""
        try:
            return b" 200 " in self.get(self._path).partition(b"\r\n")[0]
        except OSError:
            return False
