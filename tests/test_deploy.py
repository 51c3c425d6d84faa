"""The files in deploy/ agree with the code: settings, commands, paths, metrics and files exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import setuptools
import yaml
from click import Group

from models.offers.campaign import Arm, Campaign
from streams.__main__ import cli
from streams.operation import campaigns
from streams.settings import Settings, load

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
ENCORE_SERVICES = [name for name, service in SERVICES.items() if service["image"] == "encore:local"]
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text())
]
CAMPAIGN = DEPLOY / "campaigns" / "win-back.toml"


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The Kubernetes manifests of a kind."""
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


def pods() -> list[dict[str, Any]]:
    """The pod templates of the manifests."""
    return [manifest["spec"]["template"] for manifest in MANIFESTS if manifest["kind"] in ("Deployment", "Job")]


def code(package: str) -> list[Path]:
    """Every module of a package and its subpackages."""
    return list((ROOT / package).rglob("*.py"))


def is_command(words: list[str]) -> bool:
    """Whether the command line has this command."""
    command: Any = cli
    for word in words:
        if not isinstance(command, Group) or word not in command.commands:
            return False
        command = command.commands[word]
    return not isinstance(command, Group)


# -- the image


def test_the_image_copies_existing_files() -> None:
    """Copied files exist, and the ignore file does not exclude them."""
    included = (DEPLOY / "Dockerfile.dockerignore").read_text()
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for source in line.split()[:-1]]

    assert {"requirements.txt", "pyproject.toml", "models", "streams"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}\n" in included, source


def test_the_image_installs_only_pinned_versions() -> None:
    """Every requirement has a hash, and nothing else is installed."""
    assert "pip install --require-hashes -r requirements.txt" in DOCKERFILE
    assert "pip install --no-deps --no-build-isolation --no-index ." in DOCKERFILE
    pinned = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text().strip())
    assert all("--hash=sha256:" in one for one in pinned if not one.startswith("#"))


def test_the_image_has_every_module() -> None:
    """A package that pyproject.toml does not include would be missing in an installation."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    named = setuptools.find_packages(str(ROOT), include=find["include"])
    existing = {".".join(file.relative_to(ROOT).parent.parts) for top in ("models", "streams") for file in code(top)}
    assert set(named) == existing


def test_the_image_has_a_supported_python() -> None:
    """Both stages use one Python version, the oldest that the project supports."""
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert set(images) == {f"python:{oldest}-slim"}


def test_the_image_runs_without_root() -> None:
    """The last user is not root, and Kubernetes uses the same user id."""
    (user_id,) = re.findall(r"useradd --uid (\d+) .* encore$", DOCKERFILE, re.M)

    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["encore"]
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods()} == {int(user_id)}


def test_the_image_has_a_health_check() -> None:
    """Docker uses the same check as Kubernetes; it is disabled for commands other than the worker."""
    assert re.search(r"^HEALTHCHECK .*/readyz", DOCKERFILE, re.M)
    assert [name for name in ENCORE_SERVICES if not SERVICES[name].get("healthcheck", {}).get("disable")] == ["worker"]


# -- Compose


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    """An exact version, never `latest`."""
    assert name in ENCORE_SERVICES or re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", ENCORE_SERVICES)
def test_compose_uses_valid_settings(name: str) -> None:
    """The environment of the services is valid and points to the broker of the project."""
    given = {key: re.sub(r"\$\{\w+:-(\w*)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()}
    assert load(given).bootstrap == ["kafka:9092"]


def test_compose_starts_in_order() -> None:
    """First a healthy broker, then the topics, then the workers."""
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["worker"]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert is_command(SERVICES["topics"]["command"])
    assert SERVICES["worker"]["entrypoint"][-1].endswith("exec encore worker")


@pytest.mark.parametrize("name", ENCORE_SERVICES)
def test_containers_are_read_only(name: str) -> None:
    """A read-only root file system, no capabilities, no privilege escalation."""
    service = SERVICES[name]
    assert service["read_only"] and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_exist_and_ports_are_local(name: str) -> None:
    """Mounted files exist, volumes are declared, and no port is open to other machines."""
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_prometheus_scrapes_the_workers_of_compose() -> None:
    """By the name and port of their service."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]

    assert set(found["names"]) <= set(SERVICES)
    assert found["port"] == Settings().web_port
    assert config["rule_files"] == ["rules.yml"]


def test_grafana_finds_its_dashboard_and_data_source() -> None:
    """At the provisioned path, with the Prometheus of the project."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "encore.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090"


# -- Kubernetes


def test_kustomize_includes_every_manifest() -> None:
    """No manifest is unused, and the image has the version of the project."""
    (kustomization,) = of_kind("Kustomization")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert {"kustomization.yaml", *kustomization["resources"]} == {
        file.name for file in (DEPLOY / "kubernetes").iterdir()
    }
    assert kustomization["images"][0]["newTag"] == version


def test_kubernetes_uses_valid_settings(tmp_path: Path) -> None:
    """The file in the ConfigMap is valid and is mounted where ENCORE_SETTINGS points."""
    (settings,) = of_kind("ConfigMap")
    file = tmp_path / "encore.toml"
    file.write_text(settings["data"]["encore.toml"])

    assert load({}, file).broker == "kafka://kafka:9092"
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        given = {one["name"]: one.get("value", "") for one in container["env"] if one["name"].startswith("ENCORE_")}
        assert given.pop("ENCORE_SETTINGS") == "/etc/encore/encore.toml"
        assert load(given)
        assert {"name": "settings", "mountPath": "/etc/encore", "readOnly": True} in container["volumeMounts"]


def test_kubernetes_adds_no_variables() -> None:
    """For a service named `encore` it would set ENCORE_PORT and others, and unknown settings are rejected."""
    assert [pod["spec"]["enableServiceLinks"] for pod in pods()] == [False, False]


def test_pods_are_read_only() -> None:
    """Not root, a read-only root file system, no capabilities, no cluster token; only /tmp is writable."""
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert not pod["spec"]["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert writable == ["/tmp"]


def test_pods_run_commands_that_exist() -> None:
    """The job creates the topics, the deployment runs workers."""
    assert [pod["spec"]["containers"][0]["args"] for pod in pods()] == [["topics", "create"], ["worker"]]
    assert all(is_command(pod["spec"]["containers"][0]["args"]) for pod in pods())


def test_probes_use_paths_of_the_web_server() -> None:
    """Liveness and readiness differ: a long recovery is no reason to restart a worker."""
    (deployment,) = of_kind("Deployment")
    (worker,) = deployment["spec"]["template"]["spec"]["containers"]
    web = (ROOT / "streams" / "web.py").read_text()

    asked = {probe: worker[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert all(f'web.get("{path}"' in web for path in asked.values())
    assert worker["ports"] == [{"name": "web", "containerPort": Settings().web_port}]


def test_services_select_the_workers() -> None:
    """The selectors match the labels of the workers, and not those of the job."""
    (deployment,) = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    chosen = [service["spec"]["selector"] for service in of_kind("Service")]
    chosen += [one["spec"]["selector"]["matchLabels"] for one in (deployment, *of_kind("PodDisruptionBudget"))]

    assert chosen == [labels] * 4
    assert (
        of_kind("Job")[0]["spec"]["template"]["metadata"]["labels"].items()
        <= {"app.kubernetes.io/component": "topics"}.items()
    )


# -- campaigns


def test_the_campaign_can_be_published() -> None:
    """`encore campaign apply` accepts the example."""
    campaign = campaigns.read_campaign(CAMPAIGN)
    assert (campaign.id, campaign.arm.name, campaign.enabled) == ("win-back", "ten-off", True)


def test_the_campaign_shows_every_default() -> None:
    """As its comment says; a changed default must be changed here too."""
    values = tomllib.loads(CAMPAIGN.read_text())
    arm = values.pop("arm")

    assert set(values) == set(Campaign.__struct_fields__) - {"arm", "version"} and set(arm) == set(
        Arm.__struct_fields__
    )
    shortest = Campaign(id=values["id"], arm=Arm(name=arm["name"], amount=arm["amount"]))
    assert {**values, "arm": arm} == {
        **{field: getattr(shortest, field) for field in values},
        "arm": {field: getattr(shortest.arm, field) for field in arm},
    }
