"""What is written of a language model of a cell."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from child.data.text import TextTrainingData
from child.language.size import ModelSize
from child.language.task import LanguageTask
from child.recurrent.architecture import CellArchitecture
from deploy.count import counted
from deploy.export.cell_source import cell_source
from deploy.export.plan import ExportPlan, OnnxPlan


def language_plan(
    task: LanguageTask,
    architecture: CellArchitecture,
    data: TextTrainingData,
    size: ModelSize,
) -> ExportPlan:
    """Plan the export of a language model over the vocabulary of the data."""
    num_layers, num_units, num_tokens = size.num_layers, size.hidden_size, size.num_tokens

    def example(batch: int) -> tuple[Tensor, ...]:
        states = torch.rand(2, num_layers, batch, num_units) - 0.5
        return torch.randint(0, num_tokens, (batch,)), states[0], states[1]

    def answers(model: nn.Module) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        logits: Tensor = model(torch.randint(0, num_tokens, (5, 3), generator=generator))[0]
        return logits

    states = f"({num_layers}, batch, {num_units})"
    layers = counted(num_layers, "layer")
    zeros = f"np.zeros(({num_layers}, 2, {num_units}), np.float32)"
    return ExportPlan(
        source=cell_source(architecture, size),
        summary=f"A language model over {num_tokens:,} {task.unit}: {layers} of a recurrent cell.",
        usage='vocabulary = json.loads(Path("vocabulary.json").read_text(encoding="utf-8"))\n'
        "tokens = torch.zeros(7, 2, dtype=torch.int64)  # yours: 7 steps of 2 texts, side by side\n"
        f"logits, states = model(tokens)  # (7, 2, {num_tokens}); model(more, states) goes on\n"
        "likeliest = [vocabulary[token] for token in logits[-1].argmax(dim=1)]",
        imports="import json\nfrom pathlib import Path\n\n",
        onnx_imports="import numpy as np\n",
        onnx_usage=f"h, c = {zeros}, {zeros}\n"
        "for step in tokens.numpy():\n"
        '    inputs = {"tokens": step, "h": h, "c": c}\n'
        "    logits, h, c = session.run(None, inputs)",
        onnx_note=f"is one step: the states h and c of the layers, each {states}, go in and out",
        notes=(
            f"Tokens are {task.unit}; the number of each is its place in vocabulary.json, from 0.",
            "`RecurrentLayer` is the cell as a layer of its own, for other models.",
        ),
        files={
            "vocabulary.json": json.dumps(data.vocabulary.tokens, ensure_ascii=False, indent=0)
            + "\n"
        },
        buffers={},
        answers=answers,
        onnx=OnnxPlan(
            _Step,
            example,
            {"tokens": 0, "h": 1, "c": 1},
            ["logits", "new_h", "new_c"],
        ),
    )


class _Step(nn.Module):
    """One step of a model, its states each as one tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, states = self.model(tokens[None], list(zip(h, c, strict=True)))
        new_h, new_c = (torch.stack(each) for each in zip(*states, strict=True))
        return logits[0], new_h, new_c
