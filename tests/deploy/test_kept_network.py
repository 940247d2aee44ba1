"""The weights of the network that was tested, on disk."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors
from support.disks import UnsyncedDisk

from deploy.kept_network import KeptNetwork
from deploy.weights_file import WeightsFileError

WEIGHTS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.num_batches_tracked": np.array(7),
    "a.bias": np.array([0.5], np.float32),
}
KEPT = KeptNetwork(3, "c0ffee", (0.25, 0.1), 0.3, WEIGHTS)
ROW = SimpleNamespace(trial=3, architecture_sha256="c0ffee")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "networks" / "trial-3.safetensors"
    KEPT.write(path)
    return path


def test_network_that_was_kept_is_found_as_it_was(path):
    found = KeptNetwork.find(path, ROW)

    assert replace(found, weights={}) == replace(KEPT, weights={})
    assert found.weights.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        assert found.weights[name].dtype == values.dtype
        assert found.weights[name].tolist() == values.tolist()


def test_network_that_was_not_kept_is_none(tmp_path):
    assert KeptNetwork.find(tmp_path / "networks" / "trial-3.safetensors", ROW) is None


@pytest.mark.parametrize("changed", [{"trial": 4}, {"architecture_sha256": "beef"}])
def test_network_of_another_trial_is_refused(path, changed):
    with pytest.raises(WeightsFileError, match="holds another network than that of trial"):
        KeptNetwork.find(path, SimpleNamespace(**{**vars(ROW), **changed}))


def test_file_that_is_cut_short_is_refused_wherever_it_was_cut(path):
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsFileError, match="cannot be read"):
            KeptNetwork.find(path, ROW)


def test_file_of_somebody_else_is_refused(path):
    path.write_bytes(safetensors.numpy.save(WEIGHTS))
    with pytest.raises(WeightsFileError, match="cannot be read"):
        KeptNetwork.find(path, ROW)


def test_network_is_written_over_an_older_one_and_nothing_else_is_left(path):
    replace(KEPT, test=0.75).write(path)
    assert KeptNetwork.find(path, ROW).test == 0.75
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_network_is_written_although_a_life_that_was_killed_left_half_of_it(path):
    path.unlink()
    path.with_name(f"{path.name}.tmp").write_bytes(b"half")
    KEPT.write(path)
    assert KeptNetwork.find(path, ROW).test == KEPT.test
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_network_that_was_written_survives_a_power_cut(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    disk = UnsyncedDisk(tmp_path / "run")
    monkeypatch.setattr("deploy.weights_file.Disk", lambda: disk)
    KEPT.write(tmp_path / "run" / "networks" / "trial-3.safetensors")

    after = disk.crash(tmp_path / "after", "nothing")

    assert KeptNetwork.find(after / "networks" / "trial-3.safetensors", ROW).test == KEPT.test
