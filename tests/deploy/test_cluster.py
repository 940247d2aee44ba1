import gc
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from ray._private import services

from deploy.cli import main
from deploy.cluster import (
    ClusterError,
    Shortage,
    check_machine,
    check_memory,
    cluster,
    shortage,
)
from deploy.settings_file import load_settings
from workers.node import Node


def settings(**children):
    overrides = [f"children.{key}={value}" for key, value in children.items()]
    return load_settings(overrides=["num_replicas=3", *overrides])


def node(name="10.0.0.1", **total):
    return Node(name, total, total)


@pytest.mark.parametrize(
    ("children", "there"),
    [
        ({"num_cpus": 1}, {"CPU": 3.0}),
        ({"num_cpus": 1}, {"CPU": 1.0}),  # one of three trains at a time
        ({"num_cpus": 1, "num_gpus": 1}, {"CPU": 3.0, "GPU": 1.0}),
        ({"num_cpus": 1, "num_gpus": 0.6}, {"CPU": 1.0, "GPU": 1.0}),
    ],
)
def test_cluster_with_room_for_one_child_lacks_nothing(children, there):
    assert shortage(settings(**children), [node(**there)]) == ""


def test_cluster_whose_room_is_taken_lacks_nothing_since_it_may_be_given_back():
    busy = Node("10.0.0.1", total={"CPU": 2.0}, free={})
    assert shortage(settings(), [busy]) == ""


@pytest.mark.parametrize(
    ("children", "there", "message"),
    [
        (
            {"num_cpus": 4},
            {"CPU": 3.0},
            "children.num_cpus=4: 10.0.0.1 has 3 CPUs: a child fits nowhere; ask for less for each",
        ),
        (
            {"num_gpus": 1},
            {"CPU": 3.0},
            "children.num_gpus=1: 10.0.0.1 has 0 GPUs: a child fits nowhere; ask for less for "
            "each, or set children.num_gpus=0 to train on CPUs",
        ),
        (
            {"num_cpus": 4, "num_gpus": 1},
            {"CPU": 3.0},
            "children.num_gpus=1: 10.0.0.1 has 0 GPUs; children.num_cpus=4: 10.0.0.1 has 3 CPUs: a "
            "child fits nowhere; ask for less for each, or set children.num_gpus=0 to train on "
            "CPUs",
        ),
    ],
)
def test_child_that_fits_nowhere_is_told_which_resource_of_which_node_does_not_do(
    children, there, message
):
    assert shortage(settings(**children), [node(**there)]) == message


MACHINES = [node("10.0.0.1", CPU=64.0), node("10.0.0.2", CPU=64.0)]


@pytest.mark.parametrize(
    "changes",
    ["shards.host=auto", "shards.host=node", "shards.addresses=[10.0.0.1:1, 10.0.0.1:2]"],
)
def test_cluster_of_several_machines_is_used(changes):
    assert shortage(load_settings(overrides=[changes]), MACHINES) == ""


@pytest.mark.parametrize(
    "changes",
    ["shards.host=127.0.0.1", "shards.addresses=[127.0.0.1:1, 127.0.0.1:2]"],
)
def test_cluster_of_several_machines_is_refused_where_shards_are_to_listen_on_loopback(changes):
    assert "has 2 machines: must be 1, since shards." in shortage(
        load_settings(overrides=[changes]), MACHINES
    )


def test_several_nodes_of_one_machine_are_no_mistake():
    assert shortage(settings(), [node(CPU=1.0), node(CPU=1.0)]) == ""


def test_machine_without_the_gpus_is_told_before_data_are_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    data = f"data={{name: mnist, folder: {tmp_path}/none, download: false}}"
    gpus = ["--set", "children.num_gpus=1", "--set", "children.num_cpus=1000"]
    assert main(["search", *gpus, "--set", data, "--run-dir", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert "children.num_gpus=1: this machine has 0 GPUs" in printed.err
    assert "children.num_cpus=1000: this machine has" in printed.err
    assert "none" not in printed.err
    assert "starting Ray" not in printed.out
    assert list(tmp_path.iterdir()) == []


def test_machine_is_not_asked_where_a_cluster_is_to_be_joined(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    check_machine(settings(num_cpus=1000))
    check_memory(load_settings(overrides=["num_replicas=10000"]))


def test_more_processes_than_memory_are_refused_before_data_are_loaded(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    data = f"data={{name: mnist, folder: {tmp_path}/none, download: false}}"
    many = ["--set", "num_replicas=10000", "--set", data]
    assert main(["search", *many, "--run-dir", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert "num_replicas=10000, num_shards=2: each is a process of some 400 MiB" in printed.err
    assert "starting Ray" not in printed.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("num_gib", "is_refused"), [(2, False), (1, True)])
def test_memory_is_that_of_replicas_and_shards(monkeypatch, num_gib, is_refused):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": num_gib * 2**18}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    given = load_settings(overrides=["num_replicas=3", "num_shards=2"])  # 5 * 400 MiB
    with pytest.raises(Shortage, match="has 1 GiB") if is_refused else nullcontext():
        check_memory(given)


def test_shards_of_others_take_no_memory(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    addresses = "shards.addresses=[a:1, a:2]"
    check_memory(load_settings(overrides=["num_replicas=2", "num_shards=2", addresses]))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_cluster_that_nobody_answers_for_is_named_at_once(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(["search", "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert f"Error: RAY_ADDRESS={address}: must be a Ray cluster that runs" in said
    assert "unset RAY_ADDRESS" in said
    assert not (tmp_path / "run").exists()


@pytest.fixture
def on_this_machine(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    ray.shutdown()  # where a test fails


@pytest.mark.usefixtures("on_this_machine")
def test_ray_is_there_inside_the_block_and_leaves_signals_and_folder_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), Path.cwd()
    said = []
    with cluster(settings(num_cpus=0.5), tmp_path, said.append):
        assert ray.is_initialized()
        within = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), Path.cwd()
    assert within == before
    assert said == ["starting Ray"]
    assert not ray.is_initialized()


def break_process(name, folder, monkeypatch, num_times):
    """Have a process of Ray's end as it starts, so many times."""
    real, fake = getattr(services, name), folder / "fake"
    fake.write_text(
        f"#!/bin/sh\necho >> {folder}/starts\n"
        f'[ "$(wc -l < {folder}/starts)" -gt {num_times} ] && exec {real} "$@"\nexit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(services, name, str(fake))
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "2")


@pytest.mark.usefixtures("on_this_machine")
@pytest.mark.parametrize(
    ("process", "told"),
    [
        ("GCS_SERVER_EXECUTABLE", "Timed out waiting for file"),
        # Ray waits for half a minute.
        pytest.param("RAYLET_EXECUTABLE", "The current node timed out", marks=pytest.mark.slow),
    ],
)
def test_ray_that_does_not_start_is_started_once_more(process, told, tmp_path, monkeypatch):
    break_process(process, tmp_path, monkeypatch, num_times=1)
    said = []

    with cluster(settings(), tmp_path, said.append):
        assert ray.is_initialized()

    assert said[0] == "starting Ray"
    assert said[1].startswith(f"Ray did not start, and is started once more: {told}")


@pytest.mark.usefixtures("on_this_machine")
def test_ray_that_does_not_start_again_is_a_failure_that_leaves_no_process(tmp_path, monkeypatch):
    break_process("GCS_SERVER_EXECUTABLE", tmp_path, monkeypatch, num_times=2)

    with (
        pytest.raises(ClusterError, match="no Ray at RAY_ADDRESS=local: Timed out waiting"),
        cluster(settings(), tmp_path, print),
    ):
        raise AssertionError("there is no Ray")

    assert (tmp_path / "starts").read_text().count("\n") == 2
    gc.collect()  # warns, and so fails, of a process that nobody has waited for


@pytest.mark.usefixtures("on_this_machine")
def test_job_with_shards_elsewhere_may_spread_though_its_cluster_has_one_machine_yet(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    elsewhere = load_settings(overrides=["shards.addresses=[10.0.0.1:1, 10.0.0.2:1]"])
    with cluster(elsewhere, tmp_path, lambda _: None) as placement:
        assert placement.is_spread


@pytest.mark.usefixtures("on_this_machine")
def test_cluster_in_which_a_child_fits_nowhere_is_left_at_once(tmp_path):
    greedy = settings(num_cpus=1000)
    with (
        pytest.raises(Shortage, match=r"num_cpus=1000: .* a child fits nowhere"),
        cluster(greedy, tmp_path, lambda _: None),
    ):
        pytest.fail("the block was entered")
    assert not ray.is_initialized()


def test_address_that_is_none_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray-head")
    with (
        pytest.raises(ClusterError, match="no Ray at RAY_ADDRESS=ray-head: "),
        cluster(settings(), tmp_path, lambda _: None),
    ):
        pytest.fail("the block was entered")
