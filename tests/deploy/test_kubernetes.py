"""What the cluster is told, rendered and held to its own schemas and to the strictest profile of its pods."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from archipelag_coordinator import config as coordinator
from archipelag_coordinator.__main__ import _parser as parser
from archipelag_island import config as island

from .test_compose import known_settings

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
REGIONS = ("first-region", "linked-region")
FOLDERS = ("base", "island", "migrate-pre", "migrate-post", "backup", "example", *REGIONS)
VERSION = "1.32"
OURS = {"archipelag-coordinator", "archipelag-island", "archipelag-backup"}


@cache
def objects(folder: str) -> list[dict[str, Any]]:
    """As `kubectl apply -k` would send them; where there is no kubectl, the files as they are."""
    if kubectl := shutil.which("kubectl"):
        done = subprocess.run(
            [kubectl, "kustomize", str(KUBERNETES / folder)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [one for one in yaml.safe_load_all(done.stdout) if one]
    listed = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())["resources"]
    return [
        one
        for name in listed
        for one in (
            yaml.safe_load_all((KUBERNETES / folder / name).read_text())
            if name.endswith(".yaml")
            else objects(Path(name).name)
        )
        if one
    ]


def everything() -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in FOLDERS:
        for one in objects(folder):
            yield f"{folder}: {one['kind']} {one['metadata']['name']}", one


def pods() -> dict[str, dict[str, Any]]:
    """The pod of each workload."""
    found = {
        name: one["spec"]["template"]
        for name, one in everything()
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    }
    of_days = {
        name: one["spec"]["jobTemplate"]["spec"]["template"]
        for name, one in everything()
        if one["kind"] == "CronJob"
    }
    return found | of_days


def of(folder: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [
        one
        for one in objects(folder)
        if one["kind"] == kind and one["metadata"]["name"].startswith(name)
    ]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_what_the_cluster_knows(folder: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")

    assert objects(folder)
    for one in objects(folder):
        schemas.validate(one, VERSION, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    one = yaml.safe_load(yaml.safe_dump(of("base", "Deployment", "coordinator")))
    one["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}

    with pytest.raises(schemas.ValidationError):
        schemas.validate(one, VERSION, strict=True)


def test_pods_are_within_the_restricted_profile() -> None:
    assert len(pods()) >= 7
    for name, pod in pods().items():
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert not [v for v in spec.get("volumes", ()) if "hostPath" in v], name
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert {"requests", "limits"} <= set(container["resources"]), name
    namespace = of("base", "Namespace", "archipelag")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_serves_is_probed_and_a_lost_database_restarts_nothing() -> None:
    for name, pod in pods().items():
        (container,) = pod["spec"]["containers"]
        if "Job" in name:
            continue
        assert {"startupProbe", "livenessProbe"} <= set(container), name
        ports = {port["name"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind, {})
            assert "exec" in probe or not probe or probe["httpGet"]["port"] in ports, name
    container = of("base", "Deployment", "coordinator")["spec"]["template"]["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/api/v1/health"
    assert container["readinessProbe"]["httpGet"]["path"] == "/api/v1/ready"


def test_secrets_are_named_and_never_written() -> None:
    for name, one in everything():
        assert one["kind"] != "Secret", name
    settings = of("base", "ConfigMap", "coordinator")["data"]
    assert not [key for key in settings if "DATABASE" in key or "SECRET" in key or "KEY" in key]
    for name, pod in pods().items():
        for variable in pod["spec"]["containers"][0].get("env", ()):
            hidden = any(word in variable["name"] for word in ("PASSWORD", "DATABASE", "CODE"))
            assert not hidden or "secretKeyRef" in variable.get("valueFrom", {}), name


def test_every_setting_is_one_that_is_read() -> None:
    settings = dict(of("example", "ConfigMap", "coordinator")["data"])
    names = set(settings)
    for pod in pods().values():
        names |= {
            variable["name"]
            for container in pod["spec"]["containers"]
            if container["image"].partition("@")[0].rpartition("/")[2] in OURS
            for variable in container.get("env", ())
        }

    assert names - known_settings() == set()
    read = coordinator.read(settings | {"ARCHIPELAG_DATABASE_URL": "postgresql://"})
    assert read.nats_replicas == 3
    variables = pods()["island: StatefulSet island"]["spec"]["containers"][0]["env"]
    island.read({one["name"]: one.get("value", "") for one in variables})


def test_selectors_choose_pods_that_exist() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods().values()]
    chosen = []
    for name, one in everything():
        spec = one.get("spec", {})
        match one["kind"]:
            case "Service":
                chosen.append((name, spec["selector"]))
            case "PodDisruptionBudget":
                chosen.append((name, spec["selector"]["matchLabels"]))
            case "NetworkPolicy" if spec["podSelector"]:
                chosen.append((name, spec["podSelector"]["matchLabels"]))

    assert len(chosen) >= 8
    for name, wanted in chosen:
        assert any(wanted.items() <= each.items() for each in labels), name


def test_nothing_is_let_in_or_out_unless_it_is_said() -> None:
    closed = of("base", "NetworkPolicy", "nothing-unless-said")["spec"]

    assert closed["podSelector"] == {} and closed["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in closed and "egress" not in closed
    routes = of("base", "NetworkPolicy", "nats")["spec"]["ingress"]
    (inner,) = [rule for rule in routes if rule["ports"][0]["port"] == "routes"]
    assert inner["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "nats"}}}]


def test_nothing_is_taken_away_before_its_successor_stands() -> None:
    strategy = of("base", "Deployment", "coordinator")["spec"]["strategy"]["rollingUpdate"]
    scaled = of("base", "HorizontalPodAutoscaler", "coordinator")["spec"]

    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
    assert scaled["minReplicas"] >= 2
    assert "replicas" not in of("base", "Deployment", "coordinator")["spec"]
    assert of("base", "PodDisruptionBudget", "nats")["spec"]["maxUnavailable"] == 1


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl: it lays patches over")
def test_each_region_has_a_domain_and_a_cluster_of_its_own() -> None:
    told = {}
    for folder in ("base", *REGIONS):
        (broker,) = of(folder, "StatefulSet", "nats")["spec"]["template"]["spec"]["containers"]
        given = {one["name"]: one.get("value") for one in broker["env"]}
        told[folder] = (given["NATS_DOMAIN"], given["NATS_CLUSTER"])
        assert {"NATS_NAME", "NATS_ROUTE_PASSWORD"} <= set(given)

    assert told == {
        "base": ('""', "archipelag"),
        "first-region": ("east", "archipelag"),
        "linked-region": ("west", "archipelag-west"),
    }
    for folder in REGIONS:
        settings = of(folder, "ConfigMap", "coordinator")["data"]
        assert set(settings) <= known_settings()
        read = coordinator.read(settings | {"ARCHIPELAG_DATABASE_URL": "postgresql://"})
        assert (read.region, read.blobs) == (told[folder][0], "nats:east")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl: it lays patches over")
def test_a_link_has_a_door_on_one_side_and_a_secret_on_the_other() -> None:
    first, linked = (
        of(folder, "StatefulSet", "nats")["spec"]["template"]["spec"] for folder in REGIONS
    )
    door = of("first-region", "Service", "nats-links")["spec"]["ports"]
    inward = of("first-region", "NetworkPolicy", "nats-links")["spec"]
    outward = of("linked-region", "NetworkPolicy", "nats-links")["spec"]

    assert {"name": "links", "containerPort": 7422} in first["containers"][0]["ports"]
    assert [(one["port"], one["targetPort"]) for one in door] == [(7422, "links")]
    assert inward["ingress"] == [{"ports": [{"protocol": "TCP", "port": "links"}]}]
    assert outward["egress"] == [{"ports": [{"protocol": "TCP", "port": 7422}]}]
    (shown,) = [one for one in linked["volumes"] if one["name"] == "link"]
    assert shown["secret"] == {"secretName": "archipelag-link", "defaultMode": 0o440}
    mounts = linked["containers"][0]["volumeMounts"]
    (at,) = [one for one in mounts if one["name"] == "link"]
    assert (at["mountPath"], at["readOnly"]) == ("/etc/nats/link", True)
    assert {"data", "config", "trust"} <= {one["name"] for one in mounts}


def test_daily_backup_is_sealed_and_takes_what_base_names() -> None:
    pod = of("backup", "CronJob", "backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    claims = [one["persistentVolumeClaim"] for one in pod["volumes"] if one["name"] == "backups"]
    chosen = parser().parse_args(container["args"])

    assert chosen.file == Path("/var/lib/backups") and chosen.files.parent == chosen.file
    assert str(chosen.passphrase_file.parent) in mounts
    claim = of("backup", "PersistentVolumeClaim", "backups")["metadata"]["name"]
    assert claims == [{"claimName": claim}]
    assert mounts[str(chosen.file)]["name"] == "backups"
    serving = of("base", "Deployment", "coordinator")["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == serving["envFrom"]
    keys = of("base", "ConfigMap", "coordinator")["data"]["ARCHIPELAG_STATE_DIR"]
    assert mounts[keys]["readOnly"] is True


def test_broker_is_the_one_of_the_compose_file() -> None:
    composed = KUBERNETES.parent / "compose" / "nats.conf"

    assert (KUBERNETES / "base" / "nats.conf").read_text() == composed.read_text()
