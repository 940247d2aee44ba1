"""The text of an exported model."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100
INDENT = " " * 8  # of the body of a method


@dataclass(frozen=True)
class ModelSource:
    """The classes of a model as text, and the functions of `deploy.export.parts` that they call.

    name: of the class that is the model; it has a method `load`.
    """

    name: str
    classes: tuple[str, ...]
    parts: tuple[Callable[..., Any], ...]

    def module(self, docstring: str) -> str:
        """Give the whole of model.py."""
        functions = [inspect.getsource(part).rstrip() for part in self.parts]
        body = "\n\n\n".join([*self.classes, *functions])
        functional = "import torch.nn.functional as F\n" if "F." in body else ""
        return (
            f'"""{docstring}"""\n\n'
            "from __future__ import annotations\n\n"
            "import json\n"
            "from pathlib import Path\n\n"
            f"import torch\n{functional}from torch import Tensor, nn\n\n\n{body}\n"
        )


def load_method(name: str) -> str:
    """Give the text of the method that makes a model of the file of its weights."""
    return textwrap.indent(
        f'''\
@classmethod
def load(cls, path: str | Path) -> {name}:
    """Give the model with the weights of model.safetensors, ready to be asked."""
    model = cls()
    model.load_state_dict(read_safetensors(path))
    return model.eval()
''',
        " " * 4,
    )


def listed(prefix: str, names: Sequence[str], suffix: str) -> str:
    """Give a statement that holds a list of names, on as many lines as it takes.

    >>> print(listed("inputs = [", ["x1", "x2"], "]"))
            inputs = [x1, x2]
    """
    line = f"{INDENT}{prefix}{', '.join(names)}{suffix}"
    if len(line) <= WIDTH:
        return line
    inner = INDENT + " " * 4
    body = textwrap.fill(
        ", ".join(names) + ",",
        WIDTH,
        initial_indent=inner,
        subsequent_indent=inner,
        break_long_words=False,
    )
    return f"{INDENT}{prefix}\n{body}\n{INDENT}{suffix}"
