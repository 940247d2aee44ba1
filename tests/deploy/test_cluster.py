import pytest

from deploy.cli import main
from deploy.cluster import check_machine, shortage
from deploy.settings_file import load_settings


def settings(**children):
    overrides = [f"children.{key}={value}" for key, value in children.items()]
    return load_settings(overrides=["num_replicas=3", *overrides])


@pytest.mark.parametrize(
    ("children", "free"),
    [
        ({"num_cpus": 1}, {"CPU": 3.0}),
        ({"num_cpus": 0.1}, {"CPU": 0.3}),  # which 3 * 0.1 is a little more than
        ({"num_cpus": 1, "num_gpus": 1}, {"CPU": 3.0, "GPU": 3.0}),
        ({"num_cpus": 1, "num_gpus": 0.5}, {"CPU": 4.0, "GPU": 2.0}),
        ({"num_cpus": 1, "num_gpus": 0.3}, {"CPU": 3.0, "GPU": 1.0}),
        ({"num_cpus": 1, "num_gpus": 2}, {"CPU": 3.0, "GPU": 6.0}),
    ],
)
def test_children_that_fit_lack_nothing(children, free):
    assert shortage(settings(**children), 1, free) == ""


@pytest.mark.parametrize(
    ("children", "free", "message"),
    [
        ({"num_cpus": 1}, {"CPU": 2.0}, "need 3 CPUs, and 2 are free"),
        ({"num_cpus": 1}, {}, "need 3 CPUs, and 0 are free"),
        ({"per_replica": 2}, {"CPU": 5.0}, "need 6 CPUs, and 5 are free"),
        ({"num_gpus": 1}, {"CPU": 3.0}, "need 3 GPUs, and 0 are free"),
        # 1.8 of 2 GPUs would do, if two children shared a third of each.
        ({"num_gpus": 0.6}, {"CPU": 3.0, "GPU": 2.0}, "need 1.8 GPUs, and 1.2 are free"),
    ],
)
def test_children_that_do_not_fit_are_counted_against_what_is_free(children, free, message):
    lack = shortage(settings(**children), 1, free)
    assert message in lack
    assert "num_replicas=3 x children.per_replica=" in lack


def test_everything_that_is_lacking_is_listed_gpus_first():
    lack = shortage(settings(num_cpus=2, num_gpus=1), 1, {"CPU": 2.0})
    assert [line.partition(":")[0] for line in lack.splitlines()] == [
        "children.num_gpus=1",
        "children.num_cpus=2",
    ]


def test_machine_without_the_gpus_is_told_before_data_are_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    data = f"data={{name: mnist, folder: {tmp_path}/none, download: false}}"
    gpus = ["--set", "children.num_gpus=1", "--set", "children.num_cpus=1000"]
    assert main(["search", *gpus, "--set", data, "--run-dir", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert "need 2 GPUs, and 0 are free" in printed.err
    assert "need 2000 CPUs, and" in printed.err
    assert "none" not in printed.err
    assert "starting Ray" not in printed.out
    assert list(tmp_path.iterdir()) == []


def test_machine_is_not_asked_where_a_cluster_is_to_be_joined(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    check_machine(settings(num_cpus=1000))


def test_cluster_of_several_nodes_is_refused_since_shards_listen_on_loopback():
    assert "has 2 nodes: must be 1" in shortage(settings(), 2, {"CPU": 64.0})


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_cluster_that_nobody_answers_for_is_named_at_once(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(["search", "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert f"Error: RAY_ADDRESS={address}: must be a Ray cluster that runs" in said
    assert "unset RAY_ADDRESS" in said
    assert not (tmp_path / "run").exists()
