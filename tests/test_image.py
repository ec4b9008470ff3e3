"""The Dockerfile, as it stands. ``tox run -e packaging`` runs what it says."""

from __future__ import annotations

import re

import pytest

from manifests.gateway import INSTALL
from sfs_server.config import FLAGS, make_config
from tests.support import dockerfile
from tests.support.dockerfile import ROOT, command
from tests.support.kustomize import containers, pod, render

BUILD, GATEWAY, IMAGE = dockerfile.parse()


def test_all_stages_have_one_slim_python_of_a_version() -> None:
    base, _, name = BUILD.base.partition(" AS ")
    assert base == IMAGE.base
    assert GATEWAY.base == f"{base} AS gateway"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    assert IMAGE.one("COPY") == f"--from={name} /opt/sfs /opt/sfs"


def test_what_is_copied_is_there_and_is_let_in() -> None:
    lines = BUILD.all("COPY") + GATEWAY.all("COPY")
    assert {name for line in lines for name in line.split()[:-1]} == dockerfile.context()


def test_no_step_is_for_one_architecture_or_fetches_by_itself() -> None:
    text = "\n".join(rest for stage in (BUILD, IMAGE) for _, rest in stage.steps)
    assert not re.search(r"amd64|arm64|x86|aarch|curl|wget|https?://|apt-get|gcc", text)


def test_everything_is_started_without_a_shell() -> None:
    assert command(IMAGE.one("ENTRYPOINT")) == ["sfs-server"]
    for step in BUILD.all("RUN") + IMAGE.all("RUN"):
        command(step)
    assert command(IMAGE.one("HEALTHCHECK").partition("CMD ")[2])[:2] == ["python", "-c"]
    assert IMAGE.one("STOPSIGNAL") == "SIGTERM"
    assert command(GATEWAY.one("ENTRYPOINT")) == ["python", "-m", "manifests.gateway"]
    assert command(GATEWAY.one("HEALTHCHECK").partition("CMD ")[2])[:2] == ["python", "-c"]
    assert GATEWAY.one("STOPSIGNAL") == "SIGQUIT", "by which nginx lets transfers end"


def test_the_gateway_is_the_nginx_of_debian() -> None:
    shell, flag, script = command(GATEWAY.all("RUN")[0])
    assert (shell, flag) == ("sh", "-c")
    update, install, tidy = script.split(" && ")
    assert [word for word in install.split() if not word.startswith("-")] == INSTALL.split()
    assert (update, tidy) == ("apt-get update -q", "rm -rf /var/lib/apt/lists")
    for line in GATEWAY.all("COPY"):  # the package is as it is here, under PYTHONPATH
        *names, target = line.split()
        place = target.removeprefix(f"{GATEWAY.environment['PYTHONPATH']}/").rstrip("/")
        assert all(name.startswith(place) for name in names)


@pytest.mark.parametrize(("image", "name"), [(IMAGE, "sfs-server"), (GATEWAY, "sfs-gateway")])
def test_it_runs_as_the_user_of_the_manifests_and_not_as_root(
    image: dockerfile.Stage, name: str
) -> None:
    user = image.one("USER")
    assert [step for step, _ in image.steps].index("USER") > max(
        number for number, (step, _) in enumerate(image.steps) if step in ("RUN", "COPY")
    )
    used = 0
    for thing in render(ROOT / "manifests" / "overlays" / "four-pods"):
        for container in containers(thing):
            if f"/{name}:" in container["image"]:
                template = pod(thing)
                assert template is not None
                context = template["spec"]["securityContext"]
                assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
                used += 1
    assert used


def test_the_user_of_sfs_has_a_name() -> None:
    (made,) = (words for step in IMAGE.all("RUN") if (words := command(step))[0] == "useradd")
    assert IMAGE.one("USER") == ":".join([made[made.index("--uid") + 1]] * 2)


def test_its_settings_are_settings() -> None:
    environment = IMAGE.environment
    assert {name for name in environment if name.startswith("SFS_")} <= {
        flag.variable for flag in FLAGS
    }
    config = make_config({}, environment, terminal=False)
    assert str(config.addr.port) == IMAGE.one("EXPOSE")
    assert config.data == IMAGE.one("VOLUME") == IMAGE.one("WORKDIR")


def test_it_has_every_version_that_was_looked_at() -> None:
    """constraints.txt names what the package asks for, each in the range that it asks for."""
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    pinned = {name.replace("_", "-").lower(): version for name, version in pinned.items()}
    text = (ROOT / "pyproject.toml").read_text()
    for extra in ("dependencies", "embedded", "cluster"):
        listed = re.search(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
        assert listed is not None
        for name in re.findall(r'"([\w-]+)', listed[1]):
            assert name in pinned
    assert "constraints.txt" in BUILD.steps[-1][1]
