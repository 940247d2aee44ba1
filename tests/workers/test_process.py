import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.process import ProcessSetup, check_rooms


def test_rooms_from_one_place_are_accepted():
    check_rooms()


@pytest.mark.parametrize("room", ["ps", "child", "controller", "deploy"])
def test_folder_that_hides_a_room_is_named(tmp_path, room):
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").touch()
    home = Path(__file__).resolve().parents[2]
    # Loaded by its path, since a hidden `workers` could not be imported.
    script = f"""
import importlib.util, sys
sys.path[:0] = [{str(tmp_path)!r}, {str(home)!r}]
spec = importlib.util.spec_from_file_location("process", "{home}/workers/process.py")
sys.modules["process"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.check_rooms()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"MixedRoomsError: package '{room}' comes from {tmp_path / room}" in ended.stderr


@pytest.mark.parametrize(("num_gpus", "visible"), [(0, ""), (1, "3")])
def test_gpus_are_hidden_from_who_was_granted_none(tmp_path, monkeypatch, num_gpus, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    root = logging.getLogger()
    before = root.handlers[:]
    ProcessSetup(tmp_path).enter("someone", num_gpus)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert f"process {os.getpid()}" in (tmp_path / "someone.log").read_text()
    [added] = [handler for handler in root.handlers if handler not in before]
    root.removeHandler(added)
    added.close()


def test_process_on_a_node_without_the_folder_logs_to_stderr(tmp_path, capsys):
    handler = ProcessSetup(tmp_path / "not mounted here").log_to("child-0-0")
    logging.getLogger().info("trial 1 trains")
    logging.getLogger().removeHandler(handler)
    assert "trial 1 trains" in capsys.readouterr().err
