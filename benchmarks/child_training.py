"""How fast is a child trained? Our training step beside a bare loop over tensors that are ready.

    python benchmarks/child_training.py                     # on a CPU: about 30 minutes
    python benchmarks/child_training.py --networks six-layers --json FILE
    python benchmarks/child_training.py --device cuda       # and what a GPU does with it

The bare loop trains the same network with the same optimizer, batch size and number format on
images that are on the device, whitened, as floats, in order. Ours takes them as stored, a byte a
value, in random order, and whitens them: by channel alone (plain), then with upsampling, crops
and flips (augmented), then by ZCA as well (zca). They take turns: a round of each, one after the
other, and so on. Printed are medians over the rounds and, since a machine's speed varies, the
median of the ratios of those that ran in the same round. On a CPU a second is one of the processor,
whatever else runs beside it. Images are random: only time is measured.

With a GPU, also: the part of its peak that is reached, counting multiply-adds of convolutions and
the classifier as two operations, three times (the backward pass is two of the forward pass); the
children that would be trained in an hour, 50 epochs of 45,000 images each, without validation; and
what several children at a time on one GPU gain, each in its own process.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from child_networks import NETWORKS, NUM_CLASSES, SHAPE, build, multiply_adds
from machine import machine
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from child.data.images import LabelledImages, TrainingData
from child.data.whitening import Whitening
from child.images.augmentation import AugmentationSettings
from child.images.passes import ImagePasses
from child.images.training_settings import ImageTrainingSettings
from child.precision import Precision

PLAIN = AugmentationSettings(crop="none", flip=False)
NUM_IMAGES = 45_000
NUM_EPOCHS = 50
PACKED = (1, 2, 4, 8)
# Dense products in 16 bits, 10**12 operations a second, as the maker gives them.
PEAK_TFLOPS = {
    "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362,
    "L40": 181, "L4": 121, "V100": 125, "T4": 65,
}  # fmt: skip


class EnoughSteps(Exception):
    """Ends a pass over the images before its end."""


def ours(
    name: str, settings: ImageTrainingSettings, device: torch.device, *, is_zca: bool = False
) -> Callable[[int], None]:
    """Give a function that takes so many of our steps; of a whitening only its size takes time."""
    draw = np.random.default_rng(0)
    one = np.ones((3, 1, 1), np.float32)
    matrix = np.eye(3072, dtype=np.float32) if is_zca else None
    images = draw.integers(0, 256, (NUM_IMAGES, *SHAPE), dtype=np.uint8)
    part = LabelledImages(images, draw.integers(0, NUM_CLASSES, NUM_IMAGES))
    data = TrainingData(part, part, NUM_CLASSES, Whitening(one, one, matrix))
    passes = ImagePasses(settings, data, device)
    learner = passes.learner(build(name))

    def run(num_steps: int) -> None:
        steps = iter(range(num_steps))

        def count() -> None:
            if next(steps, None) is None:
                raise EnoughSteps

        with suppress(EnoughSteps):
            passes.train(learner, settings.learning_rate, before_step=count)

    return run


def bare(name: str, settings: ImageTrainingSettings, device: torch.device) -> Callable[[int], None]:
    """Give a function that takes so many steps of a bare loop."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    network = build(name)
    network.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch lacks it
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    precision = Precision(settings.precision, device)
    scaler = precision.scaler()
    images = torch.randn(8, settings.batch_size, *SHAPE, device=device)
    batches = [batch.contiguous(memory_format=layout) for batch in images]
    labels = torch.randint(NUM_CLASSES, (8, settings.batch_size), device=device)

    def run(num_steps: int) -> None:
        network.train()
        for step in range(num_steps):
            with precision.autocast():
                loss = functional.cross_entropy(network(batches[step % 8]), labels[step % 8])
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    return run


def timed(run: Callable[[int], None], num_steps: int, device: torch.device) -> float:
    """Give the seconds that so many steps take: of the processor, or until a GPU is done."""
    if device.type == "cpu":
        start = time.process_time()
        run(num_steps)
        return time.process_time() - start
    start = time.perf_counter()
    run(num_steps)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name: str, arguments: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure one network in all ways, in turns; give a row for each."""
    given = {"batch_size": arguments.batch_size, "precision": arguments.precision}
    plain, full = ImageTrainingSettings(augmentation=PLAIN, **given), ImageTrainingSettings(**given)
    ways = {
        "bare": bare(name, full, device),
        "plain": ours(name, plain, device),
        "augmented": ours(name, full, device),
        "zca": ours(name, full, device, is_zca=True),
    }
    for run in ways.values():
        timed(run, 1, device)  # the first takes longer
    num_steps = max(1, round(arguments.seconds / timed(ways["bare"], 1, device)))
    num_steps = min(num_steps, NUM_IMAGES // arguments.batch_size)
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(1, arguments.rounds + 1):
        for way, run in ways.items():
            rates[way].append(num_steps * arguments.batch_size / timed(run, num_steps, device))
            print(f"{name}, round {number}: {way}: {rates[way][-1]:.1f} images/s", file=sys.stderr)
    return [
        {
            "network": name,
            "way": way,
            "images_per_s": median(found),
            "images_per_s_min": min(found),
            "images_per_s_max": max(found),
            "of_bare": median(a / b for a, b in zip(found, rates["bare"], strict=True)),
            "steps_per_round": num_steps,
            "operations_per_image": 6 * multiply_adds(name),
        }
        for way, found in rates.items()
    ]


def train_beside(
    _: int, name: str, num_steps: int, settings: Any, device: torch.device, barrier: Any, q: Any
) -> None:
    """Train in one of several processes on a device, and tell when it began and ended."""
    torch.set_num_threads(1)
    run = ours(name, settings, device)
    timed(run, min(10, num_steps), device)
    barrier.wait()
    start = time.time()
    timed(run, num_steps, device)
    q.put((start, time.time()))


def packing(
    name: str, num_steps: int, settings: ImageTrainingSettings, device: torch.device
) -> dict[int, float]:
    """Give images/s of all children together, by how many train on the device at a time."""
    context = get_context("spawn")
    found = {}
    for num_children in PACKED:
        barrier, q = context.Barrier(num_children), context.SimpleQueue()
        given = (name, num_steps, settings, device, barrier, q)
        spawn(train_beside, given, nprocs=num_children)
        starts, ends = zip(*(q.get() for _ in range(num_children)), strict=True)
        images = num_children * num_steps * settings.batch_size
        found[num_children] = images / (max(ends) - min(starts))
    return found


def show(rows: list[dict[str, Any]], peak_tflops: float | None) -> None:
    """Print the table."""
    print("\n| network | way | images/s | min to max | of bare |\n|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['network']} | {r['way']} | {r['images_per_s']:,.1f} "
            f"| {r['images_per_s_min']:,.1f} to {r['images_per_s_max']:,.1f} | {r['of_bare']:.3f} |"
        )
    for r in (r for r in rows if "packing" in r):
        tflops = r["images_per_s"] * r["operations_per_image"] / 1e12
        peak = f", {tflops / peak_tflops:.1%} of its {peak_tflops:g}" if peak_tflops else ""
        print(f"\n{r['network']}: {tflops:.1f} TFLOP/s{peak}. Children at a time, and an hour:")
        for num_children, rate in r["packing"].items():
            gain = rate / r["packing"][1]
            per_hour = rate * 3600 / (NUM_EPOCHS * NUM_IMAGES)
            print(f"  {num_children}: {per_hour:.1f} ({gain:.2f} times one's)")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="How fast is a child trained?")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way in a round")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU; known for some")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # what a child has, by default
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU: the CPU is measured", file=sys.stderr)
        arguments.device = "cpu"
    device = torch.device(arguments.device)
    used = "one core is used"
    peak = arguments.peak_tflops
    if device.type == "cuda":
        used = torch.cuda.get_device_name()
        words = f"{used.replace('-', ' ')} "
        known = (t for part, t in PEAK_TFLOPS.items() if f" {part} " in words)
        peak = peak or next(known, None)
    rows = []
    for name in arguments.networks:
        found = compare(name, arguments, device)
        if device.type == "cuda":
            settings = ImageTrainingSettings(
                batch_size=arguments.batch_size, precision=arguments.precision
            )
            steps = found[2]["steps_per_round"]  # of what is augmented
            found[2]["packing"] = packing(name, steps, settings, device)
        rows += found
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{machine('torch')}; {used}")
    print(f"batch size {arguments.batch_size}, precision {arguments.precision}, ", end="")
    print(f"{arguments.rounds} rounds")
    show(rows, peak)


if __name__ == "__main__":
    main()
