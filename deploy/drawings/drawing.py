"""Write an architecture as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from child.convolutional.architecture import ConvolutionalArchitecture
from child.recurrent.architecture import CellArchitecture
from deploy.drawings.canvas import Canvas
from deploy.drawings.cell import draw_cell
from deploy.drawings.convolutional import draw_network

PNG_DOTS_PER_INCH = 200


def write_drawing(architecture: Any, path: Path) -> None:
    """Draw a network or a cell to a new file, .svg or .png; the same gives the same bytes.

    Raises:
        TypeError: it is of a kind that has no drawing.
        OSError: the file exists already, or cannot be written.
    """
    # What people have set for their own drawings has no say, and letters are drawn as shapes: so
    # it looks the same everywhere. Ids in an SVG are hashed with the salt, else they are random.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["svg.hashsalt"] = "nasrl"
        figure = _drawn(architecture).figure()
        with path.open("xb") as file:
            if path.suffix == ".svg":
                figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            else:
                figure.savefig(
                    file, format="png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None}
                )


def _drawn(architecture: Any) -> Canvas:
    match architecture:
        case ConvolutionalArchitecture():
            return draw_network(architecture)
        case CellArchitecture():
            return draw_cell(architecture)
    raise TypeError(f"{architecture}: has no drawing; networks of a search and cells have")
