"""Write an architecture as a drawing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

from child.convolutional.architecture import ConvolutionalArchitecture
from child.recurrent.architecture import CellArchitecture
from deploy.drawings.canvas import Canvas
from deploy.drawings.cell import draw_cell
from deploy.drawings.convolutional import draw_network

PNG_DOTS_PER_INCH = 200
MAX_PNG_SIZE = 30_000  # pixels in a row or column; few programs show more


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
        figure, drawn = _drawn(architecture).figure(), BytesIO()
        if path.suffix == ".svg":
            figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        else:
            dots = min(PNG_DOTS_PER_INCH, MAX_PNG_SIZE / max(figure.get_size_inches()))
            figure.savefig(drawn, format="png", dpi=dots, metadata={"Software": None})
    with path.open("xb") as file:
        file.write(drawn.getbuffer())


def _drawn(architecture: Any) -> Canvas:
    match architecture:
        case ConvolutionalArchitecture():
            return draw_network(architecture)
        case CellArchitecture():
            return draw_cell(architecture)
    raise TypeError(f"{architecture}: has no drawing; networks of a search and cells have")
