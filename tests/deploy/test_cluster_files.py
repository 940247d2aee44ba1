"""The files for clusters in deploy/: what their schemas say of them, and what no schema does."""

import configparser
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CLUSTERS = sorted(DEPLOY.glob("cluster*.yaml"))
CLOUDS = [path for path in CLUSTERS if path.name != "cluster-local.yaml"]
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
RAY_SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
SCHEMAS = Path(__file__).parent / "schemas"

of_each = pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.name)
of_each_cloud = pytest.mark.parametrize("path", CLOUDS, ids=lambda path: path.name)


def read(path):
    return yaml.safe_load(path.read_text())


def prepared(path):
    """What `ray up` makes of a file: with Ray's own defaults where the file says nothing."""
    return prepare_config(read(path))


def starts_of_ray(path):
    """The commands by which Ray is started on the head and on the others."""
    cluster = prepared(path)
    commands = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    return starts


def commands(value):
    """Every shell command of a cluster file, wherever in it."""
    for key, below in value.items():
        if key.endswith("_commands"):
            yield from below
        elif isinstance(below, dict):
            yield from commands(below)


def numbers(text):
    """The numbers of the lines that a person changes."""
    return [int(number) for number in re.findall(r"# ([0-9])\. ", text)]


def pinned(package):
    """The version that nasrl was tested with."""
    constraints = (ROOT / "constraints.txt").read_text()
    return re.search(rf"^{package}==(.+)$", constraints, re.MULTILINE).group(1)


def test_there_are_three_clusters_and_three_files_for_kubernetes():
    names = ["cluster-gcp.yaml", "cluster-local.yaml", "cluster.yaml"]
    assert [path.name for path in CLUSTERS] == names
    assert [path.name for path in KUBERNETES] == ["search.yaml", "shards.yaml", "storage.yaml"]


@of_each
def test_cluster_is_what_the_schema_of_ray_allows(path):
    jsonschema.validate(read(path), json.loads(RAY_SCHEMA.read_text()))
    validate_config(prepared(path))


@of_each
def test_cluster_has_each_of_its_five_numbers_once(path):
    assert sorted(numbers(path.read_text())) == [1, 2, 3, 4, 5]


@of_each
def test_cluster_says_how_it_is_started_and_ended(path):
    named = re.findall(r"ray (?:up|down|dashboard) (\S+?\.yaml)", path.read_text())
    assert len(named) == 3
    assert set(named) == {f"deploy/{path.name}"}


@of_each
def test_commands_of_a_cluster_can_be_read_by_a_shell(path):
    every = list(commands(prepared(path)))
    assert every
    for command in every:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=10)
        assert not re.search("[\"']~", command), "a shell leaves a quoted ~ as it is"


@of_each
def test_nobody_gets_into_ray_without_the_token(path):
    pattern = r"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=([^\s;]+)"
    tokens = [re.search(pattern, command).group(1) for command in starts_of_ray(path)]
    assert tokens == ["/shared/nasrl/ray-token"] * 2


@of_each
def test_dashboard_is_on_loopback(path):
    assert not any("dashboard-host" in command for command in starts_of_ray(path))


@of_each
def test_nasrl_is_installed_from_the_folder_that_is_copied(path):
    cluster = prepared(path)
    assert cluster["file_mounts"] == {"~/nasrl": "."}
    installs = [command for command in cluster["setup_commands"] if "pip install" in command]
    assert len(installs) == 1
    assert "--constraint ~/nasrl/constraints.txt" in installs[0]
    assert "nasrl[postgresql]" in installs[0]


@of_each
def test_whoever_logs_in_finds_nasrl_and_ray(path, tmp_path):
    [add] = [command for command in prepared(path)["setup_commands"] if ".bashrc" in command]
    (tmp_path / ".bashrc").write_text("# of the system\n")
    for _ in range(2):  # it runs at every `ray up`
        subprocess.run(["bash", "-c", add], env={"HOME": str(tmp_path)}, check=True)
    assert (tmp_path / ".bashrc").read_text() == (
        "# of the system\nexport PATH=~/nasrl-venv/bin:$PATH\n"
    )


def test_head_of_ones_own_machines_has_no_gpu():
    head, _ = starts_of_ray(DEPLOY / "cluster-local.yaml")
    assert "--num-gpus=0" in head


@of_each_cloud
def test_head_has_no_gpu_and_the_others_come_and_go(path):
    cluster = prepared(path)
    types = cluster["available_node_types"]
    head = types.pop(cluster["head_node_type"])
    (worker,) = types.values()
    assert head["resources"]["GPU"] == 0
    assert head["max_workers"] == 0
    assert worker["min_workers"] == 0
    assert worker["max_workers"] == cluster["max_workers"] > 0


@of_each_cloud
def test_machines_are_gone_once_they_are_not_needed(path):
    cluster = prepared(path)
    assert cluster["provider"]["cache_stopped_nodes"] is False
    assert cluster["idle_timeout_minutes"] <= 10


@of_each_cloud
def test_first_head_makes_the_token_where_all_machines_see_it_and_others_do_not(path):
    cluster = prepared(path)
    setup = cluster["setup_commands"]
    mount = next(number for number, command in enumerate(setup) if "sudo mount" in command)
    assert setup[mount].endswith("/shared; }")
    assert any("install -d -m 700" in command for command in setup[mount:])
    starts = cluster["head_start_ray_commands"]
    makes = next(number for number, command in enumerate(starts) if "umask 077" in command)
    assert starts[makes].startswith("test -s /shared/nasrl/ray-token ||")
    assert "ray start" in "".join(starts[makes:])


@of_each_cloud
def test_ray_starts_with_its_default_autoscaler_in_a_cloud(path):
    # The other one is for cluster-local.yaml, which says why.
    assert "autoscaler_v2" not in path.read_text()


# Kubernetes


def documents(path):
    """The objects of a file, those in a list one by one."""
    for document in yaml.safe_load_all(path.read_text()):
        yield from document["items"] if document["kind"] == "List" else [document]


OBJECTS = {
    (document["kind"], document["metadata"]["name"]): document
    for path in KUBERNETES
    for document in documents(path)
}


def pods():
    """The pod specifications, by the name of their container."""
    cluster = OBJECTS["RayJob", "nasrl"]["spec"]["rayClusterSpec"]
    templates = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates += [OBJECTS["Deployment", "nasrl-watch"]["spec"]]
    templates += [OBJECTS["StatefulSet", "nasrl-shards"]["spec"]]
    return {
        template["template"]["spec"]["containers"][0]["name"]: template["template"]
        for template in templates
    }


of_each_pod = pytest.mark.parametrize("name", ["ray-head", "ray-worker", "watch", "shard"])


def test_every_pod_is_looked_at():
    assert sorted(pods()) == ["ray-head", "ray-worker", "shard", "watch"]


def test_search_is_what_the_schema_of_kuberay_allows():
    schema = json.loads((SCHEMAS / "rayjob-kuberay-1.7.0.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(OBJECTS["RayJob", "nasrl"])


@pytest.mark.parametrize("key", [key for key in OBJECTS if key[0] != "RayJob"], ids="-".join)
def test_object_is_what_the_schema_of_kubernetes_allows(key):
    schema = json.loads((SCHEMAS / "kubernetes-1.37.0.json").read_text())
    group, _, release = OBJECTS[key]["apiVersion"].rpartition("/")
    name = f"io.k8s.api.{group.split('.')[0] or 'core'}.{release}.{key[0]}"
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}"} | schema).validate(OBJECTS[key])


def test_search_has_each_of_its_five_numbers_once():
    found = [number for path in KUBERNETES for number in numbers(path.read_text())]
    assert sorted(found) == [1, 2, 3, 4, 5]


def test_ray_of_kubernetes_is_the_one_that_is_installed_and_wants_a_token():
    cluster = OBJECTS["RayJob", "nasrl"]["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["authOptions"] == {"mode": "token"}


def test_head_pod_has_no_gpu_and_the_others_have():
    cluster = OBJECTS["RayJob", "nasrl"]["spec"]["rayClusterSpec"]
    (worker,) = cluster["workerGroupSpecs"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    assert (
        "nvidia.com/gpu" not in pods()["ray-head"]["spec"]["containers"][0]["resources"]["limits"]
    )
    assert pods()["ray-worker"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert worker["replicas"] == worker["minReplicas"] == 0 < worker["maxReplicas"]


def test_search_goes_on_by_itself_and_gives_its_pods_back():
    search = OBJECTS["RayJob", "nasrl"]["spec"]
    assert search["backoffLimit"] > 0
    assert search["shutdownAfterJobFinishes"] is True


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 1), (2, 1), (130, 0)])
def test_script_begins_a_search_or_goes_on_and_takes_a_stopped_one_for_ended(
    has_begun, code, seen, tmp_path
):
    nasrl, run = tmp_path / "nasrl", tmp_path / "run"
    nasrl.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    nasrl.chmod(0o755)
    if has_begun:
        run.mkdir()
        (run / "settings.yaml").touch()
    script = OBJECTS["ConfigMap", "nasrl-search"]["data"]["search.sh"]
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "RUN": str(run),
        "SEARCH": "digits --set a=1",
    }
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=10
    )
    arguments = f"--resume {run}" if has_begun else f"digits --set a=1 --run-dir {run}"
    assert done.stdout == f"search {arguments}\n"
    assert done.returncode == seen


@of_each_pod
def test_pod_is_not_run_by_root_and_has_what_it_mounts(name):
    spec = pods()[name]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 1000
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    for volume in volumes.values():
        if claim := volume.get("persistentVolumeClaim"):
            assert ("PersistentVolumeClaim", claim["claimName"]) in OBJECTS
        else:
            assert ("ConfigMap", volume["configMap"]["name"]) in OBJECTS


@of_each_pod
def test_pods_have_one_image_and_the_run_directory_at_one_place(name):
    (container,) = pods()[name]["spec"]["containers"]
    assert container["image"] == f"registry.example.org/nasrl:{version()}"
    shared = [mount for mount in container["volumeMounts"] if mount["name"] == "shared"]
    run = OBJECTS["ConfigMap", "nasrl-search"]["data"]["RUN"]
    assert [mount["mountPath"] for mount in shared] == ["/shared"]
    assert run.startswith("/shared/")


@of_each_pod
def test_pod_is_behind_the_policy_of_the_network(name):
    policy = OBJECTS["NetworkPolicy", "nasrl"]["spec"]
    selected = policy["podSelector"]["matchLabels"]
    assert selected.items() <= pods()[name]["metadata"]["labels"].items()


def test_ledger_in_sqlite_is_not_on_the_shared_volume():
    search = OBJECTS["ConfigMap", "nasrl-search"]["data"]["SEARCH"]
    path = re.search(r"ledger_url=sqlite:///(/\S+)", search).group(1)
    (head,) = pods()["ray-head"]["spec"]["containers"]
    mounted = {mount["mountPath"]: mount["name"] for mount in head["volumeMounts"]}
    assert mounted[str(Path(path).parent)] == "ledger"
    claim = OBJECTS["PersistentVolumeClaim", "nasrl-ledger"]["spec"]
    assert claim["accessModes"] == ["ReadWriteOnce"]


def test_watcher_is_ready_when_every_shard_serves():
    (watch,) = pods()["watch"]["spec"]["containers"]
    assert watch["readinessProbe"]["exec"]["command"][-1] == 'nasrl shards "$RUN"'


@pytest.mark.parametrize(
    ("probe", "service"),
    [
        ("startupProbe", []),
        ("livenessProbe", []),
        ("readinessProbe", ["nasrl.ps.v1.ParameterShard"]),
    ],
)
def test_shard_is_probed_with_certificates(probe, service):
    (shard,) = pods()["shard"]["spec"]["containers"]
    command = shard[probe]["exec"]["command"][-1]
    subprocess.run(["bash", "-n", "-c", command], check=True, timeout=10)
    assert re.findall(r"-service=(\S+)", command) == service
    flags = ["-tls", "-tls-ca-cert", "-tls-client-cert", "-tls-client-key", "-tls-server-name"]
    assert re.findall(r"-tls[a-z-]*", command) == flags


def test_shards_of_kubernetes_are_at_the_addresses_that_the_search_is_told():
    text = (DEPLOY / "kubernetes" / "shards.yaml").read_text()
    shards = OBJECTS["StatefulSet", "nasrl-shards"]
    told = re.search(r"num_shards=(\d+) --set shards\.addresses=\[(\S+)\]", text)
    name, service = shards["metadata"]["name"], shards["spec"]["serviceName"]
    port = OBJECTS["Service", service]["spec"]["ports"][0]["port"]
    count = shards["spec"]["replicas"]
    assert int(told.group(1)) == count
    assert told.group(2).split(",") == [
        f"{name}-{shard}.{service}:{port}" for shard in range(count)
    ]


# The image


@pytest.fixture(scope="module")
def setup():
    read_setup = configparser.ConfigParser(interpolation=None)
    read_setup.read(ROOT / "setup.cfg")
    return read_setup


def version():
    return re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE).group(1)


def test_image_is_built_from_every_package_and_the_tested_versions(setup):
    taken = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    included = setup["options.packages.find"]["include"].split()
    for name in [*(package.removesuffix("*") for package in included), "constraints.txt"]:
        assert f"!{name}" in taken
        assert (ROOT / name).exists()


def test_image_is_run_by_the_user_that_the_pods_ask_for():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    security = pods()["ray-head"]["spec"]["securityContext"]
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == [
        f"{security['runAsUser']}:{security['runAsGroup']}"
    ]


def test_image_has_the_python_that_was_tested():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    tested = re.search(r"on Python (\S+);", (ROOT / "constraints.txt").read_text()).group(1)
    assert set(re.findall(r"^FROM python:([0-9.]+)-", text, re.MULTILINE)) == {tested}


# What is written of them


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *CLUSTERS, *KUBERNETES],
    ids=lambda path: path.name,
)
def test_files_that_are_named_with_the_clusters_exist(path):
    named = re.findall(r"(?:deploy|docs)/[\w./-]*\w", path.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
