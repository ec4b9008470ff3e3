"""The Dockerfile, as it stands. ``tox run -e packaging`` runs what it says."""

from __future__ import annotations

import re

from sfs_server.config import FLAGS, make_config
from tests import dockerfile
from tests.dockerfile import ROOT, command
from tests.kustomize import containers, pod, render

BUILD, IMAGE = dockerfile.parse()


def test_both_stages_have_one_slim_python_of_a_version() -> None:
    base, _, name = BUILD.base.partition(" AS ")
    assert base == IMAGE.base
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    assert IMAGE.one("COPY") == f"--from={name} /opt/sfs /opt/sfs"


def test_what_is_copied_is_there_and_is_let_in() -> None:
    copied = {name for line in BUILD.all("COPY") for name in line.split()[:-1]}
    assert copied == dockerfile.context()


def test_no_step_is_for_one_architecture_or_fetches_by_itself() -> None:
    text = "\n".join(rest for stage in (BUILD, IMAGE) for _, rest in stage.steps)
    assert not re.search(r"amd64|arm64|x86|aarch|curl|wget|https?://|apt-get|gcc", text)


def test_everything_is_started_without_a_shell() -> None:
    assert command(IMAGE.one("ENTRYPOINT")) == ["sfs-server"]
    for step in BUILD.all("RUN") + IMAGE.all("RUN"):
        command(step)
    assert command(IMAGE.one("HEALTHCHECK").partition("CMD ")[2])[:2] == ["python", "-c"]
    assert IMAGE.one("STOPSIGNAL") == "SIGTERM"


def test_it_runs_as_the_user_of_the_manifests_and_not_as_root() -> None:
    user = IMAGE.one("USER")
    assert [name for name, _ in IMAGE.steps].index("USER") > max(
        number for number, (name, _) in enumerate(IMAGE.steps) if name in ("RUN", "COPY")
    )
    (made,) = (words for step in IMAGE.all("RUN") if (words := command(step))[0] == "useradd")
    assert user == ":".join([made[made.index("--uid") + 1]] * 2)
    for thing in render(ROOT / "manifests" / "overlays" / "four-pods"):
        for container in containers(thing):
            if "sfs-server" in container["image"]:
                template = pod(thing)
                assert template is not None
                context = template["spec"]["securityContext"]
                assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_its_settings_are_settings() -> None:
    environment = IMAGE.environment
    assert {name for name in environment if name.startswith("SFS_")} <= {
        flag.variable for flag in FLAGS
    }
    config = make_config({}, environment, terminal=False)
    assert str(config.port) == IMAGE.one("EXPOSE")
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
