"""An architecture on the terminal: a network layer by layer, a cell as equations."""

from __future__ import annotations

import json
from typing import Any

import click

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import Convolution, Operation, Pooling
from child.custom.space import CustomArchitecture
from child.recurrent.architecture import CellArchitecture
from child.recurrent.equations import equations
from deploy.table import print_table

SIGNS = (
    "x, h, c stand for x_t, h_{t-1}, c_{t-1}, and c', h' for the new c_t, h_t; W and U are weights"
)
# As in `child.language.layers`.
LSTM_EQUATIONS = """\
c' = sigmoid(W1 x + U1 h) * c + sigmoid(W0 x + U0 h) * tanh(W2 x + U2 h)
h' = sigmoid(W3 x + U3 h) * tanh(c')"""


def print_architecture(architecture: Any) -> None:
    """Print a network as a table, or a cell as equations."""
    match architecture:
        case ConvolutionalArchitecture():
            _print_layers(architecture)
        case CellArchitecture():
            click.echo(f"{equations(architecture)}\n\n{SIGNS}")
        case CustomArchitecture():
            click.echo(json.dumps(architecture.value, indent=1))
        case _:
            click.echo(f"{LSTM_EQUATIONS}\n\n{SIGNS}")


def _print_layers(architecture: ConvolutionalArchitecture) -> None:
    rows = []
    for number, layer in enumerate(architecture.layers, start=1):
        inputs = ", ".join(str(i or "image") for i in layer.inputs or (0,))
        rows.append((str(number), *_sizes(layer.operation), inputs))
        if number in architecture.pooled_after:
            rows.append(("", "all maps max-pooled", "2x2", "", "2x2", ""))
    rows.append(("", "softmax", "", "", "", ", ".join(map(str, architecture.outputs))))
    print_table(
        {
            "layer": "right",
            "operation": "left",
            "size": "left",
            "filters": "right",
            "stride": "left",
            "takes": "left",
        },
        rows,
    )
    if architecture.learning_rate is not None:
        click.echo(f"\nlearning rate {architecture.learning_rate:g}, decided with it")


def _sizes(operation: Operation) -> tuple[str, str, str, str]:
    """Give what a layer does, its window, its number of filters and its stride."""
    name = operation.type.replace("_", " ")
    match operation:
        case Convolution():
            size = f"{operation.filter_height}x{operation.filter_width}"
            filters = str(operation.num_filters)
        case Pooling():
            size, filters = f"{operation.height}x{operation.width}", ""
        case _:
            return name, "", "", ""
    return name, size, filters, f"{operation.stride_height}x{operation.stride_width}"
