"""The manifests: Kubernetes would take them, they fit together, and they fit SFS."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from aiohttp import web

from manifests.gateway.__main__ import MARGIN_SECONDS as SUCCESSOR_SECONDS
from manifests.laptop.weed import program
from sfs_server.__main__ import CLOSE_SECONDS
from sfs_server.config import FLAGS, make_config
from sfs_server.handlers.service import CHECK_SECONDS
from sfs_server.namespaces.cache import STALE_SECONDS
from sfs_server.routes import add_routes
from tests.support.kustomize import Object, containers, load, pod, render

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("four-pods", "single-node")
KUBERNETES = "1.32"
"""The oldest version that the manifests are for."""

MARGIN_SECONDS = 10.0
NO_FLAGS = {"SFS_GFS_JWT_SIGNING_KEY", "SFS_GFS_JWT_SIGNING_READ_KEY", "JWT_SECRET", "DATABASE_URL"}
"""What SFS reads from its environment only."""

DOCS = (ROOT / "docs" / "kubernetes.md").read_text()
HELPERS = {"DATABASE_PASSWORD"}
"""Variables that others are made of."""


@cache
def rendered(overlay: str) -> list[Object]:
    return render(MANIFESTS / "overlays" / overlay)


def name_of(thing: Object) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


EVERYTHING = [
    pytest.param(overlay, thing, id=f"{overlay}-{name_of(thing)}")
    for overlay in OVERLAYS
    for thing in rendered(overlay)
]
SELECTING = {"Service", "PodDisruptionBudget", "NetworkPolicy"}
SELECTORS = [one for one in EVERYTHING if one.values[1]["kind"] in SELECTING]  # type: ignore[index]
WORKLOADS = [one for one in EVERYTHING if pod(one.values[1]) is not None]  # type: ignore[arg-type]


def find(overlay: str, kind: str, name: str = "sfs") -> Any:
    (thing,) = (one for one in rendered(overlay) if name_of(one) == f"{kind}/{name}")
    return thing


def selects(selector: Object, labels: dict[str, str]) -> bool:
    wanted: dict[str, str] = selector.get("matchLabels", selector)
    return wanted.items() <= labels.items()


def settings(overlay: str) -> dict[str, str]:
    """The environment of SFS; what is secret stands for itself."""
    (container,) = containers(find(overlay, "Deployment"))
    found = dict(find(overlay, "ConfigMap", "sfs-settings")["data"])
    for one in container["env"]:
        found[one["name"]] = one.get("value", "of a secret")
    return found


def walk(thing: Any) -> Iterator[tuple[str, Any]]:
    """Every key of an object and of what is in it, with its value."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield key, value
            yield from walk(value)
    elif isinstance(thing, list):
        for one in thing:
            yield from walk(one)


@pytest.mark.parametrize(("overlay", "thing"), EVERYTHING)
def test_kubernetes_knows_every_field(overlay: str, thing: Object) -> None:
    kubernetes_validate.validate(thing, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", [*(f"overlays/{one}" for one in OVERLAYS), "monitoring"])
def test_kubectl_renders_the_same(overlay: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    command = [kubectl, "kustomize", str(MANIFESTS / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    generated = [one for one in render(MANIFESTS / overlay) if one["kind"] == "ConfigMap"]
    text = done.stdout
    for one in generated:  # without their suffixes
        text = re.sub(rf"({one['metadata']['name']})-[a-z0-9]{{10}}\b", r"\1", text)
    theirs = sorted(yaml.safe_load_all(text), key=name_of)
    assert theirs == sorted(render(MANIFESTS / overlay), key=name_of)


# What one workload must be.


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_no_pod_may_do_more_than_it_must(overlay: str, thing: Object) -> None:
    template = pod(thing)
    assert template is not None
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in containers(thing):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_every_container_says_what_it_takes(overlay: str, thing: Object) -> None:
    for container in containers(thing):
        for which in ("requests", "limits"):
            assert container["resources"][which].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_every_image_has_a_version(overlay: str, thing: Object) -> None:
    for container in containers(thing):
        tag = container["image"].rpartition("/")[2].partition(":")[2]
        assert re.fullmatch(r"v?\d+(\.\d+)+(-[a-z]+)?", tag), container["image"]


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_selectors_match_the_labels(overlay: str, thing: Object) -> None:
    template = pod(thing)
    assert template is not None
    labels = template["metadata"]["labels"]
    spec = template["spec"]
    if thing["kind"] != "CronJob":
        assert selects(thing["spec"]["selector"], labels)
    for constraint in spec.get("topologySpreadConstraints", []):
        assert selects(constraint["labelSelector"], labels)


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_ports_that_are_named_are_there(overlay: str, thing: Object) -> None:
    template = pod(thing)
    assert template is not None
    for container in containers(thing):
        known = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for how in ("httpGet", "tcpSocket"):
                if how in container.get(probe, {}):
                    assert container[probe][how]["port"] in known


@pytest.mark.parametrize(("overlay", "thing"), WORKLOADS)
def test_what_a_pod_refers_to_is_there(overlay: str, thing: Object) -> None:
    template = pod(thing)
    assert template is not None
    there = {name_of(one) for one in rendered(overlay)}
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    volumes |= {one["metadata"]["name"] for one in thing["spec"].get("volumeClaimTemplates", [])}
    for container in containers(thing):
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted <= volumes
    for key, value in walk(template):
        if key in ("configMap", "configMapRef", "configMapKeyRef"):
            assert f"ConfigMap/{value['name']}" in there
        elif key == "persistentVolumeClaim":
            assert f"PersistentVolumeClaim/{value['claimName']}" in there
        elif key == "serviceAccountName":
            assert f"ServiceAccount/{value}" in there
        elif key == "secretKeyRef":  # the operator's: the page says how to make it
            assert value["name"] == "sfs-secrets"
            assert f"--from-literal={value['key']}=" in DOCS


# How the objects fit together.


@pytest.mark.parametrize(("overlay", "thing"), SELECTORS)
def test_every_selector_finds_pods(overlay: str, thing: Object) -> None:
    spec = thing["spec"]
    selector = spec["podSelector" if thing["kind"] == "NetworkPolicy" else "selector"]
    templates = [
        template for one in rendered(overlay) if (template := pod(one)) and one["kind"] != "CronJob"
    ]
    found = [one for one in templates if selects(selector, one["metadata"]["labels"])]
    assert found
    named = {
        port["name"]
        for one in found
        for container in one["spec"]["containers"]
        for port in container["ports"]
    }
    asked = {port["targetPort"] for port in spec.get("ports", [])}
    for rule in spec.get("ingress", []):
        asked |= {port["port"] for port in rule.get("ports", [])}
    assert asked <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_secret_is_in_a_manifest(overlay: str) -> None:
    assert not [one for one in rendered(overlay) if one["kind"] == "Secret"]
    for _, value in walk(rendered(overlay)):
        if isinstance(value, list):
            for one in value:
                if isinstance(one, dict) and re.search(r"KEY|SECRET|PASS", str(one.get("name"))):
                    assert "value" not in one, one["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_namespaced_object_is_in_the_namespace(overlay: str) -> None:
    (space,) = (one for one in rendered(overlay) if one["kind"] == "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for thing in rendered(overlay):
        if thing is not space:
            assert thing["metadata"]["namespace"] == space["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_is_let_in_but_by_name(overlay: str) -> None:
    door = "gateway" if overlay == "four-pods" else "sfs"
    policies = [one for one in rendered(overlay) if one["kind"] == "NetworkPolicy"]
    (closed,) = (one for one in policies if one["metadata"]["name"] == "closed")
    assert closed["spec"]["podSelector"] == {}
    assert set(closed["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in closed["spec"]
    for policy in policies:
        open_ports = [
            port["port"]
            for rule in policy["spec"].get("ingress", [])
            if "from" not in rule
            for port in rule["ports"]
        ]
        assert open_ports == (["http"] if policy["metadata"]["name"] == door else [])


# SFS.


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_sfs_knows_its_settings(overlay: str) -> None:
    found = settings(overlay)
    assert found.keys() <= {flag.variable for flag in FLAGS} | NO_FLAGS | HELPERS
    config = make_config({}, found, terminal=False)
    (container,) = containers(find(overlay, "Deployment"))
    assert config.addr.port == container["ports"][0]["containerPort"]
    assert config.data in {mount["mountPath"] for mount in container["volumeMounts"]}
    clustered = overlay == "four-pods"
    assert (config.master is not None) == (config.database is not None) == clustered


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_transfers_may_end_before_the_pod_is_killed(overlay: str) -> None:
    spec = find(overlay, "Deployment")["spec"]["template"]["spec"]
    config = make_config({}, settings(overlay), terminal=False)
    before = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + config.drain_grace + config.drain_timeout + CLOSE_SECONDS + MARGIN_SECONDS
    assert spec["terminationGracePeriodSeconds"] >= needed
    assert before > 0
    assert config.drain_grace > 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_routes_that_there_are(overlay: str) -> None:
    app = web.Application()
    add_routes(app)
    routes = {resource.canonical for resource in app.router.resources()}
    (container,) = containers(find(overlay, "Deployment"))
    asked = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert asked == {
        "startupProbe": "/healthz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    annotations = find(overlay, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert {*asked.values(), annotations["prometheus.io/path"]} <= routes
    assert annotations["prometheus.io/port"] == str(container["ports"][0]["containerPort"])
    readiness = container["readinessProbe"]
    assert readiness["timeoutSeconds"] > CHECK_SECONDS
    assert readiness["periodSeconds"] * readiness["failureThreshold"] >= STALE_SECONDS


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_sfs_runs_on_the_nodes_that_are_for_it(overlay: str) -> None:
    spec = find(overlay, "Deployment")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"backend": "true"}
    (constraint,) = spec["topologySpreadConstraints"]
    assert {key: constraint[key] for key in ("maxSkew", "topologyKey", "whenUnsatisfiable")} == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
    }


def test_three_of_four_pods_always_serve() -> None:
    spec = find("four-pods", "Deployment")["spec"]
    assert spec["replicas"] == 4
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert find("four-pods", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_one_disk_has_one_process() -> None:
    spec = find("single-node", "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


# The gateway.


def gateway() -> tuple[Object, Object, dict[str, str]]:
    """The spec of its Deployment, its container, and its flags with their values."""
    spec = find("four-pods", "Deployment", "gateway")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    pairs = (flag.removeprefix("-").partition("=") for flag in container["args"])
    return spec, container, {name: value for name, _, value in pairs}


def test_the_gateway_knows_its_flags() -> None:
    _, container, flags = gateway()
    text = (MANIFESTS / "gateway" / "__main__.py").read_text()
    known = set(re.findall(r'add_argument\("-([\w-]+)"', text))
    assert flags.keys() <= known
    assert flags["listen"] == f"0.0.0.0:{container['ports'][0]['containerPort']}"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["data"] == flags["home"]
    (volume,) = gateway()[0]["template"]["spec"]["volumes"]
    limit = int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 1024
    assert limit >= 2 * int(flags["cache-mb"])


def test_the_gateway_asks_the_service_of_sfs_and_nobody_else_reaches_sfs() -> None:
    spec, _, flags = gateway()
    service = find("four-pods", "Service")
    assert "clusterIP" not in service["spec"], "its one address stays, whatever the pods do"
    (port,) = service["spec"]["ports"]
    assert flags["upstream"] == f"{service['metadata']['name']}:{port['port']}"
    labels = spec["template"]["metadata"]["labels"]
    assert not selects(service["spec"]["selector"], labels)
    (rule,) = find("four-pods", "NetworkPolicy")["spec"]["ingress"]
    here, elsewhere = rule["from"]
    assert here.keys() == {"podSelector"}
    assert here["podSelector"]["matchLabels"] == labels
    assert elsewhere["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert find("four-pods", "ConfigMap", "sfs-settings")["data"]["SFS_TRUSTED_PROXY"]


def test_there_is_one_gateway_and_its_successor_knows_when_it_has_ended() -> None:
    spec, container, flags = gateway()
    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    budgets = [one for one in rendered("four-pods") if one["kind"] == "PodDisruptionBudget"]
    labels = spec["template"]["metadata"]["labels"]
    assert not any(selects(one["spec"]["selector"], labels) for one in budgets)
    before, drain = container["lifecycle"]["preStop"]["sleep"]["seconds"], float(flags["drain"])
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert before + drain + MARGIN_SECONDS <= grace <= drain + SUCCESSOR_SECONDS
    assert 0 < before < container["readinessProbe"]["initialDelaySeconds"]


@pytest.mark.parametrize("grace", ["default", "four-pods"])
def test_the_gateway_lets_idle_connections_go_before_sfs_does(grace: str) -> None:
    found = {} if grace == "default" else settings(grace)
    config = make_config({}, {"JWT_SECRET": "a" * 32, **found}, terminal=False)
    text = (MANIFESTS / "gateway" / "nginx.conf").read_text()
    (upstream,) = re.findall(r"upstream sfs \{(.*?)\n    \}", text, re.DOTALL)
    (idle,) = re.findall(r"keepalive_timeout (\d+)s;", upstream)
    assert int(idle) < config.drain_grace


# The store.


def weeds() -> Iterator[tuple[str, list[str]]]:
    """What each server of SeaweedFS is told: its kind, and its flags."""
    for thing in rendered("four-pods"):
        for container in containers(thing):
            if container.get("command", [""])[0] == "weed":
                kind, *flags = container["args"]
                yield kind, flags


def test_every_server_of_the_store_is_there_often_enough() -> None:
    counts = {
        kind: find("four-pods", "StatefulSet", f"seaweedfs-{kind}")["spec"]["replicas"]
        for kind, _ in weeds()
    }
    assert counts == {"master": 3, "volume": 4, "filer": 2}


def test_two_replicas_are_on_two_nodes() -> None:
    flags = dict(weeds())
    assert "-defaultReplication=010" in flags["master"]
    assert "-rack=$(NODE_NAME)" in flags["volume"]
    (container,) = containers(find("four-pods", "StatefulSet", "seaweedfs-volume"))
    (node,) = (one for one in container["env"] if one["name"] == "NODE_NAME")
    assert node["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


def test_weed_knows_its_flags() -> None:
    weed = program()
    if weed is None:
        pytest.skip("the extra [cluster] is not installed")
    for kind, flags in weeds():
        done = subprocess.run(
            [weed, "help", kind], capture_output=True, text=True, timeout=30, check=False
        )
        known = re.findall(r"^  -(\S+)", done.stdout + done.stderr, re.MULTILINE)
        for flag in flags:
            assert flag.removeprefix("-").partition("=")[0] in known, f"{kind} {flag}"
    assert "-telemetry=false" in dict(weeds())["master"]


def test_everybody_knows_the_masters() -> None:
    masters = find("four-pods", "StatefulSet", "seaweedfs-master")["spec"]
    service = masters["serviceName"]
    wanted = [f"{service}-{number}.{service}:9333" for number in range(masters["replicas"])]
    said = [settings("four-pods")["SFS_MASTER"]]
    for kind, flags in weeds():
        name = "-peers=" if kind == "master" else "-master="
        said += [flag.removeprefix(name) for flag in flags if flag.startswith(name)]
    for thing in rendered("four-pods"):
        if thing["kind"] == "CronJob":
            (container,) = containers(thing)
            said += [one["value"] for one in container["env"] if one["name"] == "MASTERS"]
    assert said == [",".join(wanted)] * len(said)
    assert len(said) == 1 + 3 + 3
    (container,) = containers(find("four-pods", "StatefulSet", "seaweedfs-master"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    named = pytest.importorskip("gfs.seaweedfs.servers.address")  # it needs the extra [cluster]
    for address in named.parse_list(said[0]):
        assert (address.http_port, address.grpc_port) == (ports["http"], ports["grpc"])


# Monitoring, for those who have the Prometheus operator: its kinds have no schema here.


def test_the_operator_gets_the_rules_of_the_file() -> None:
    (rule,) = load(MANIFESTS / "monitoring" / "rules.yaml")
    (alerts,) = load(MANIFESTS / "monitoring" / "alerts.yaml")
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == alerts


def test_the_monitor_finds_the_service() -> None:
    (monitor,) = load(MANIFESTS / "monitoring" / "monitor.yaml")
    assert (monitor["apiVersion"], monitor["kind"]) == (
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
    )
    service = find("four-pods", "Service")
    assert selects(monitor["spec"]["selector"], service["metadata"]["labels"])
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    assert service["metadata"]["name"] == "sfs", "the job of a ServiceMonitor, as the rules have it"
