"""A search over a space of the user's, as files in a folder."""

from __future__ import annotations

from pathlib import Path

SPACE = """
from nasrl import ChoiceSpace

class Space(ChoiceSpace):
    choices = {"units": [4, 8, 16]}
    longest = 2

    def __init__(self, table=None):
        self.table = table

    def write(self, choose):
        return [choose("units") for _ in range(2)]
"""
TRAINING = """
from pathlib import Path
from my_space import Space

def train(architecture, *, device, seed, report, table: Path = None):
    return sum(architecture) / 100

class Trainer:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, architecture, device, seed, report):
        return self.rate

class Lazy:
    pass

def short(architecture, device):
    return 1.0
"""
FILE = """
space: my_space:Space
trainer: my_training:train
num_trials: 4
num_replicas: 1
num_shards: 1
children: {per_replica: 1, num_gpus: 0}
"""


def write_own_search(folder: Path) -> Path:
    """Write the code and the settings, and give the path of these."""
    (folder / "my_space.py").write_text(SPACE)
    (folder / "my_training.py").write_text(TRAINING)
    (folder / "search.yaml").write_text(FILE)
    return folder / "search.yaml"
