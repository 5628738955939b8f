"""The Kubernetes manifest: right by the API's own schemas, and its parts fit each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dockwright import settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> Iterator[dict[str, Any]]:
    for one in OBJECTS:
        if one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]


def containers() -> Iterator[dict[str, Any]]:
    for pod in pods():
        yield from (*pod.get("initContainers", ()), *pod["containers"])


def environment() -> Iterator[dict[str, Any]]:
    for container in containers():
        yield from container.get("env", ())


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_object_is_right_by_the_schemas_without_an_unknown_field(one: dict[str, Any], version: str) -> None:
    assert kubernetes_validate.validate(one, version, strict=True) == version


def test_a_wrong_object_would_be_found() -> None:
    wrong = {**named("Service", "dockwright"), "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="sepc"):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_two_builders_with_a_privileged_engine_of_their_own_by_a_socket() -> None:
    builders = named("Deployment", "dockwright-builder")["spec"]
    pod = builders["template"]["spec"]
    [engine], [builder] = pod["initContainers"], pod["containers"]
    assert builders["replicas"] == 2
    assert engine["restartPolicy"] == "Always"
    assert engine["securityContext"]["privileged"] is True
    [address] = [one["value"] for one in builder["env"] if one["name"] == "DOCKER_HOST"]
    assert f"--host={address}" in engine["args"]
    folder = str(Path(address.removeprefix("unix://")).parent)
    for container in (engine, builder):
        assert {"name": "socket", "mountPath": folder} in container["volumeMounts"]
    assert f"--group={builder['securityContext']['runAsGroup']}" in engine["args"]


def test_only_the_engine_has_any_power() -> None:
    assert len(list(containers())) == 4
    for container in containers():
        if container["name"] == "docker-dind":
            continue
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False


def test_every_container_says_what_it_needs_and_lasting_ones_are_probed() -> None:
    for container in containers():
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        if container["name"] != "migrate":
            assert {"readinessProbe", "livenessProbe"} & container.keys()


def test_what_is_mounted_and_referred_to_is_there() -> None:
    claims = {one["metadata"]["name"] for one in OBJECTS if one["kind"] == "PersistentVolumeClaim"}
    for pod in pods():
        users = (*pod["initContainers"], *pod["containers"])
        assert {mount["name"] for one in users for mount in one["volumeMounts"]} == {
            one["name"] for one in pod["volumes"]
        }
        for volume in pod["volumes"]:
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in claims | {None}
        assert named("ServiceAccount", pod["serviceAccountName"])
    for container in containers():
        for source in container.get("envFrom", ()):
            assert named("ConfigMap", source["configMapRef"]["name"])
    service = named("Service", "dockwright")["spec"]
    assert service["selector"] == named("Deployment", "dockwright-server")["spec"]["selector"]["matchLabels"]


def test_selectors_are_their_pods_labels() -> None:
    for one in OBJECTS:
        if one["kind"] == "Deployment":
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_settings_are_settings_and_mean_what_they_should(tmp_path: Path) -> None:
    given = named("ConfigMap", "dockwright-settings")["data"]
    names = {one["name"] for one in environment()} | given.keys()
    assert names <= settings.KNOWN | {"DOCKER_HOST", "DOCKER_TLS_CERTDIR"}
    read = settings.load(given, tmp_path / "none")
    assert read.queue_backend == "celery"
    assert read.storage_path == Path("/artifacts")
    assert read.secret_key_file == Path("/run/dockwright/secret.key")


def test_secrets_are_referred_to_and_the_readme_makes_every_one_of_them() -> None:
    wanted = {one["valueFrom"]["secretKeyRef"]["key"] for one in environment() if "valueFrom" in one} | {"secret-key"}
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]
    for one in environment():
        assert "valueFrom" in one or not re.search("PASSWORD|URL|TOKEN", one["name"])
    made = set(re.findall(r"--from-(?:literal|file)=([a-z-]+)=", (DEPLOY / "README.md").read_text()))
    assert wanted == made
