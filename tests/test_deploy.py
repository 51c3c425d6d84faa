"""What is in deploy/ fits what it deploys: settings, commands, paths, metrics and files are those of the code."""

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
OURS = [name for name, service in SERVICES.items() if service["image"] == "encore:local"]
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
    """The pods that the manifests describe."""
    return [manifest["spec"]["template"] for manifest in MANIFESTS if manifest["kind"] in ("Deployment", "Job")]


def code(package: str) -> list[Path]:
    """Every module of a package and of those in it."""
    return list((ROOT / package).rglob("*.py"))


def is_command(words: list[str]) -> bool:
    """Whether the command line has such a command."""
    command: Any = cli
    for word in words:
        if not isinstance(command, Group) or word not in command.commands:
            return False
        command = command.commands[word]
    return not isinstance(command, Group)


# -- the image


def test_the_image_is_made_of_files_that_are_there() -> None:
    """What is copied exists, and the ignore file lets it through."""
    let_through = (DEPLOY / "Dockerfile.dockerignore").read_text()
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for source in line.split()[:-1]]

    assert {"requirements.txt", "pyproject.toml", "models", "streams"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}\n" in let_through, source


def test_the_image_installs_what_is_pinned_by_hash() -> None:
    """Every requirement has a hash, and nothing is installed beside them."""
    assert "pip install --require-hashes -r requirements.txt" in DOCKERFILE
    assert "pip install --no-deps --no-build-isolation --no-index ." in DOCKERFILE
    pinned = re.split(r"\n(?=\S)", (ROOT / "requirements.txt").read_text().strip())
    assert all("--hash=sha256:" in one for one in pinned if not one.startswith("#"))


def test_the_image_has_every_module() -> None:
    """A folder that the project does not name is there in a checkout, and missing where it is installed."""
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    named = setuptools.find_packages(str(ROOT), include=find["include"])
    there = {".".join(file.relative_to(ROOT).parent.parts) for top in ("models", "streams") for file in code(top)}
    assert set(named) == there


def test_the_image_is_of_a_python_we_support() -> None:
    """Both stages are of one Python, the oldest that the project allows."""
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert set(images) == {f"python:{oldest}-slim"}


def test_the_image_runs_as_somebody_without_rights() -> None:
    """The last user is not root, and its number is the one that Kubernetes runs."""
    (user_id,) = re.findall(r"useradd --uid (\d+) .* encore$", DOCKERFILE, re.M)

    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["encore"]
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in pods()} == {int(user_id)}


def test_the_image_says_whether_it_is_healthy() -> None:
    """Docker asks what Kubernetes asks; a command that is no worker is not asked."""
    assert re.search(r"^HEALTHCHECK .*/readyz", DOCKERFILE, re.M)
    assert [name for name in OURS if not SERVICES[name].get("healthcheck", {}).get("disable")] == ["worker"]


# -- Compose


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    """A version, never the latest."""
    assert name in OURS or re.search(r":v?\d+\.\d+\.\d+$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_compose_gives_settings_that_exist(name: str) -> None:
    """What the services get as environment can be read, and leads to the broker beside them."""
    given = {key: re.sub(r"\$\{\w+:-(\w*)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()}
    assert load(given).bootstrap == ["kafka:9092"]


def test_compose_starts_in_order() -> None:
    """A broker that answers, then the topics, then workers."""
    assert SERVICES["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["worker"]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert is_command(SERVICES["topics"]["command"])
    assert SERVICES["worker"]["entrypoint"][-1].endswith("exec encore worker")


@pytest.mark.parametrize("name", OURS)
def test_containers_of_ours_can_change_nothing(name: str) -> None:
    """A read-only root, no capability, no way to more rights."""
    service = SERVICES[name]
    assert service["read_only"] and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_and_published_is_ours(name: str) -> None:
    """Files that are mounted exist, volumes are declared, and no port is open to other machines."""
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_prometheus_scrapes_the_workers_of_compose() -> None:
    """By the name of their service, on their port."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]

    assert set(found["names"]) <= set(SERVICES)
    assert found["port"] == Settings().web_port
    assert config["rule_files"] == ["rules.yml"]


def test_grafana_finds_its_dashboard_and_its_data() -> None:
    """Where the provisioning says, and in the Prometheus of Compose."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "encore.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    assert source["url"] == "http://prometheus:9090"


# -- Kubernetes


def test_kustomize_knows_every_manifest() -> None:
    """No file lies beside the others unused; the image is of the version that we are."""
    (kustomization,) = of_kind("Kustomization")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert {"kustomization.yaml", *kustomization["resources"]} == {
        file.name for file in (DEPLOY / "kubernetes").iterdir()
    }
    assert kustomization["images"][0]["newTag"] == version


def test_kubernetes_gives_settings_that_exist(tmp_path: Path) -> None:
    """The file in the ConfigMap is one that a worker reads, mounted where it is told."""
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


def test_kubernetes_adds_no_settings_of_its_own() -> None:
    """For a service named `encore` it would set ENCORE_PORT and more, and unknown settings are refused."""
    assert [pod["spec"]["enableServiceLinks"] for pod in pods()] == [False, False]


def test_pods_can_change_nothing() -> None:
    """Not root, a read-only root, no capability, no token of the cluster; only /tmp can be written."""
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
    """The job makes the topics, the deployment works."""
    assert [pod["spec"]["containers"][0]["args"] for pod in pods()] == [["topics", "create"], ["worker"]]
    assert all(is_command(pod["spec"]["containers"][0]["args"]) for pod in pods())


def test_probes_ask_what_the_web_server_answers() -> None:
    """Alive and ready are different questions: recovering takes long, and is no reason to be killed."""
    (deployment,) = of_kind("Deployment")
    (worker,) = deployment["spec"]["template"]["spec"]["containers"]
    web = (ROOT / "streams" / "web.py").read_text()

    asked = {probe: worker[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert all(f'web.get("{path}"' in web for path in asked.values())
    assert worker["ports"] == [{"name": "web", "containerPort": Settings().web_port}]


def test_services_find_the_workers() -> None:
    """What selects them are labels that they have, and that the job has not."""
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
    """The example is one that `encore campaign apply` takes."""
    campaign = campaigns.read_campaign(CAMPAIGN)
    assert (campaign.id, campaign.arm.name, campaign.enabled) == ("win-back", "ten-off", True)


def test_the_campaign_shows_every_value_at_its_default() -> None:
    """As its comment says; whoever changes a default finds it here."""
    said = tomllib.loads(CAMPAIGN.read_text())
    arm = said.pop("arm")

    assert set(said) == set(Campaign.__struct_fields__) - {"arm", "version"} and set(arm) == set(Arm.__struct_fields__)
    shortest = Campaign(id=said["id"], arm=Arm(name=arm["name"], amount=arm["amount"]))
    assert {**said, "arm": arm} == {
        **{field: getattr(shortest, field) for field in said},
        "arm": {field: getattr(shortest.arm, field) for field in arm},
    }
