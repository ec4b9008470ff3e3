"""What ``kubectl kustomize`` renders of the features that ``manifests/`` uses; others are refused.

resources (files and directories), configMapGenerator (envs, files, literals, merge), patches (a
strategic merge, or JSON 6902 with a target), images, replicas, namespace. Generated ConfigMaps keep
their names: the suffix that kustomize gives them, and writes wherever they are named, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
KNOWN = {"apiVersion", "kind", "namespace", "resources"}
TURNS = ("configMapGenerator", "patches", "images", "replicas")
CLUSTER_WIDE = {"Namespace"}
MERGE_KEYS = {"volumeMounts": "mountPath", "ports": "containerPort"}
"""How a strategic merge knows the items of a list again, where not by name."""


def render(directory: Path) -> list[Object]:
    """The objects of a kustomization."""
    said = yaml.safe_load((directory / "kustomization.yaml").read_text())
    unknown = said.keys() - KNOWN - set(TURNS)
    assert not unknown, f"{directory}: this renderer does not know {unknown}"
    objects: list[Object] = []
    for name in said.get("resources", []):
        path = directory / name
        objects += render(path) if path.is_dir() else load(path)
    for one in said.get("configMapGenerator", []):
        _generate(objects, directory, one)
    for one in said.get("patches", []):
        _patch(objects, directory, one)
    for one in said.get("images", []):
        _retag(objects, one)
    for one in said.get("replicas", []):
        for thing in _named(objects, one["name"], {"Deployment", "StatefulSet"}):
            thing["spec"]["replicas"] = one["count"]
    if "namespace" in said:
        for thing in objects:
            if thing["kind"] not in CLUSTER_WIDE:
                thing["metadata"]["namespace"] = said["namespace"]
    return objects


def load(path: Path) -> list[Object]:
    """The objects of a file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def _named(objects: list[Object], name: str, kinds: set[str]) -> list[Object]:
    found = [one for one in objects if one["metadata"]["name"] == name and one["kind"] in kinds]
    assert found, f"there is no {name} among {kinds}"
    return found


def _generate(objects: list[Object], directory: Path, said: Object) -> None:
    assert said.keys() <= {"name", "behavior", "envs", "files", "literals", "options"}, said
    options = said.get("options", {})
    assert options.keys() <= {"labels", "disableNameSuffixHash"}, said
    data = {}
    for name in said.get("files", []):
        data[name] = (directory / name).read_text()
    lines = list(said.get("literals", []))
    for name in said.get("envs", []):
        lines += (directory / name).read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            data[key] = value
    if said.get("behavior") == "merge":
        (before,) = _named(objects, said["name"], {"ConfigMap"})
        before["data"].update(data)
    else:
        metadata = {"name": said["name"]}
        if "labels" in options:
            metadata["labels"] = options["labels"]
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )


def _patch(objects: list[Object], directory: Path, said: Object) -> None:
    assert said.keys() <= {"path", "target"}, said
    for patch in yaml.safe_load_all((directory / said["path"]).read_text()):
        if "target" in said:
            (thing,) = _named(objects, said["target"]["name"], {said["target"]["kind"]})
            for operation in patch:
                _operate(thing, operation)
        else:
            (thing,) = _named(objects, patch["metadata"]["name"], {patch["kind"]})
            _merge(thing, patch)


def _operate(thing: Any, said: Object) -> None:
    *way, last = said["path"].removeprefix("/").split("/")
    for step in way:
        thing = thing[int(step) if isinstance(thing, list) else step]
    key = int(last) if isinstance(thing, list) else last
    assert said["op"] == "replace"
    thing[key]  # it is there
    thing[key] = said["value"]


def _merge(thing: Object, patch: Object) -> None:
    for key, value in patch.items():
        before = thing.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif isinstance(before, list) and value and isinstance(value[0], dict):
            by = MERGE_KEYS.get(key, "name")
            known = {item[by]: item for item in before}
            new = [item for item in value if item[by] not in known]
            for item in value:
                if item[by] in known:
                    _merge(known[item[by]], item)
            before[:0] = new
        else:
            thing[key] = value


def _retag(objects: list[Object], said: Object) -> None:
    for thing in objects:
        for container in containers(thing):
            name, _, tag = container["image"].partition(":")
            if name == said["name"]:
                tag = said.get("newTag", tag)
                container["image"] = f"{said.get('newName', name)}:{tag}"


def pod(thing: Object) -> Object | None:
    """The template of the pods that an object makes, or None."""
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Object | None = spec.get("template") if isinstance(spec, dict) else None
    return template


def containers(thing: Object) -> Iterator[Object]:
    """Those of the pods that an object makes."""
    template = pod(thing)
    if template is not None:
        yield from template["spec"].get("initContainers", [])
        yield from template["spec"]["containers"]
