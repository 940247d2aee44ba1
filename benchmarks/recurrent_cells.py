"""How long does a step of a recurrent cell take, beside a plain loop in eager torch and nn.LSTM?

    python benchmarks/recurrent_cells.py                     # on a CPU: about 15 minutes
    python benchmarks/recurrent_cells.py --sizes 30k --ways plain compiled fast --rounds 3
    python benchmarks/recurrent_cells.py --device cuda       # and what a GPU does with it

A step is forward, loss and backward of a language model: two layers of one cell, a batch of 20, 35
steps, no dropout. Measured are the whole model (embedding, layers, softmax, cross-entropy), and
its recurrent layers alone with a gradient of their outputs. The cells: torch.nn.LSTM, NASCell, and
cells of base 8 drawn as a search first draws them, with that many units that each model has the
same number of weights:

    20m   10,000 tokens (words of Penn Treebank)
    1m    1,000 tokens, for with 10,000 nearly all weights were those of the embedding
    30k   100 tokens, nearly what `nasrl search cells` trains

The ways: ``plain``, `child.recurrent.unroll`; ``fast``, `child.recurrent.fast_unroll`, which
children have; ``operations``, what ``fast`` is on a GPU, on whatever this runs; ``compiled``, the
plain loop through torch.compile, which wants a C++ compiler on a CPU. They take turns, each for
some steps in a row: a round of each, one after the other, and so on.
Printed are medians over the rounds and, since a machine's speed varies, the median of the ratios to
the plain loop in the same round (for LSTMs: to NASCell's plain loop). "First" is the first step of
a cell of which nothing has been prepared, by the clock; all else, on a CPU, in seconds of the
processor, whatever runs beside it. Tokens are random: only time is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from machine import machine
from torch.nn import functional

from child.denormals import without_denormals
from child.language.layers import LSTM, CellLayer, Lstm
from child.language.model import LanguageModel
from child.language.model_settings import DropoutSettings, LanguageModelSettings
from child.language.size import ModelSize
from child.recurrent.architecture import CellArchitecture
from child.recurrent.fast_unroll import fast_unroll
from child.recurrent.on_gpu.unroll import unroll_on_gpu
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.recurrent.unroll import unroll
from child.zoo import NAS_CELL

SIZES = {"20m": (20_000_000, 10_000), "1m": (1_000_000, 1_000), "30k": (30_000, 100)}
BATCH_SIZE, NUM_STEPS = 20, 35
WAYS = ("plain", "compiled", "operations", "fast")
PARTS = ("layers", "model")


def random_cell(seed: int) -> CellArchitecture:
    """Draw every choice of a cell of base 8 uniformly."""
    space, draw = RecurrentSpace(RecurrentSettings(base=8)), random.Random(seed)  # noqa: S311
    choices: list[int] = []
    while (decision := space.next_decision(choices, 8)) is not None:
        choices.append(draw.randrange(decision.num_choices))
    return space.decode(choices, 8)


CELLS: dict[str, CellArchitecture | Lstm] = {
    "NASCell": NAS_CELL,
    "nn.LSTM": LSTM,
    **{f"random {seed}": random_cell(seed) for seed in range(1, 6)},
}


def build(cell: CellArchitecture | Lstm, size: str, device: torch.device) -> LanguageModel:
    """Give a model of that size, always with the same weights."""
    num_parameters, num_tokens = SIZES[size]
    nothing = DropoutSettings(embedding=0, input=0, recurrent=0, output=0)
    settings = LanguageModelSettings(num_parameters=num_parameters, dropout=nothing)
    model_size = ModelSize.of(settings, num_tokens, cell.base)
    assert model_size is not None, "all sizes have room for a unit"
    torch.manual_seed(0)
    return LanguageModel(cell, model_size, settings).to(device)


def of_operations(
    cell: CellArchitecture, inputs: torch.Tensor, weight_ih: torch.Tensor, *others: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Take the loop that is for GPUs."""
    return unroll_on_gpu(cell, functional.linear(inputs, weight_ih), *others)


def set_way(model: LanguageModel, way: str) -> None:
    """Let all layers of cells take a loop."""
    loop = {
        "plain": unroll,
        "fast": fast_unroll,
        "operations": of_operations,
        # One that no cell before has been compiled in.
        "compiled": torch.compile(lambda *given: unroll(*given), dynamic=False),
    }[way]
    for layer in model.layers:
        cast(CellLayer, layer).recurrence.unroll = loop


def stepper(part: str, model: LanguageModel, device: torch.device) -> Callable[[int], None]:
    """Give a function that takes so many steps of a part of a model."""
    tokens, targets = torch.randint(
        model.size.num_tokens, (2, NUM_STEPS, BATCH_SIZE), device=device
    )
    shape = NUM_STEPS, BATCH_SIZE, model.size.embedding_size
    inputs = torch.randn(shape, device=device, requires_grad=True)
    of_outputs = torch.randn(NUM_STEPS, BATCH_SIZE, model.size.hidden_size, device=device)

    def layers() -> None:
        inputs.grad = None
        values = inputs
        for layer in model.layers:
            values, _ = layer(values, None, None)
        values.backward(of_outputs)

    def whole() -> None:
        logits, _ = model(tokens)
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()

    step = layers if part == "layers" else whole

    def run(num_steps: int) -> None:
        for _ in range(num_steps):
            model.zero_grad()
            step()

    return run


def timed(run: Callable[[int], None], num_steps: int, device: torch.device) -> float:
    """Give the seconds that a step takes: of the processor, or until a GPU is done."""
    if device.type == "cpu":
        clock = time.process_time
    else:
        clock = time.perf_counter
        torch.cuda.synchronize()
    start = clock()
    run(num_steps)
    if device.type != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / num_steps


def compare(size: str, arguments: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure all cells of one size in all ways, in turns; give a row for each and each part."""
    rows = []
    reference: dict[str, list[float]] = {}  # of NASCell's plain loop, by part
    for name in arguments.cells:
        cell = CELLS[name]
        ways = ["torch"] if isinstance(cell, Lstm) else arguments.ways
        runs, first = {}, {}
        for way in ways:
            model = build(cell, size, device)
            if way != "torch":
                set_way(model, way)
            for part in PARTS:
                runs[part, way] = stepper(part, model, device)
                start = time.perf_counter()
                runs[part, way](1)
                first[part, way] = time.perf_counter() - start
                runs[part, way](1)
        num_steps = max(1, round(arguments.seconds / timed(runs[PARTS[1], ways[0]], 1, device)))
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for key, run in runs.items():
                run(1)  # the memory that another has left takes time
                found[key].append(timed(run, num_steps, device))
        for (part, way), seconds in found.items():
            if (name, way) == ("NASCell", "plain"):
                reference[part] = seconds
            base = found.get((part, "plain"), reference.get(part))
            rows.append(
                {
                    "size": size,
                    "cell": name,
                    "architecture": str(cell),
                    "num_units": model.size.hidden_size,
                    "num_parameters": model.size.num_parameters,
                    "part": part,
                    "way": way,
                    "ms": median(seconds) * 1e3,
                    "ms_min": min(seconds) * 1e3,
                    "ms_max": max(seconds) * 1e3,
                    "of_plain": base and median(a / b for a, b in zip(base, seconds, strict=True)),
                    "first_s": first[part, way],
                    "steps_per_round": num_steps,
                }
            )
            print(line(rows[-1]), file=sys.stderr)
    return rows


def line(row: dict[str, Any]) -> str:
    """Give a row of the table."""
    ratio = f"{row['of_plain']:.2f}" if row["of_plain"] else ""
    return (
        f"| {row['size']} | {row['cell']} | {row['num_units']} | {row['part']} | {row['way']} "
        f"| {row['ms']:.1f} | {row['ms_min']:.1f} to {row['ms_max']:.1f} | {ratio} "
        f"| {row['first_s']:.2f} |"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="How long does a step of a recurrent cell take?")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1m", "20m"])
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["plain", "fast"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way in a round")
    parser.add_argument("--threads", type=int, default=1, help="1 is what a child has, by default")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU: the CPU is measured", file=sys.stderr)
        arguments.device = "cpu"
    device = torch.device(arguments.device)
    used = f"{arguments.threads} threads of torch"
    if device.type == "cuda":
        used = torch.cuda.get_device_name()
    with without_denormals():  # as children are trained
        rows = [row for size in arguments.sizes for row in compare(size, arguments, device)]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('torch')}; {used}")
    print(f"batch {BATCH_SIZE}, {NUM_STEPS} steps, float32, {arguments.rounds} rounds\n")
    print("| size | cell | units | part | way | ms | min to max | times plain | first, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(line(row))


if __name__ == "__main__":
    main()
