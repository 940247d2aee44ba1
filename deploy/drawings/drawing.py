"""An architecture as a drawing."""

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


class Drawing:
    """A network or a cell as a drawing; a notebook shows it. The same gives the same bytes."""

    def __init__(self, architecture: Any) -> None:
        """Take what is to be drawn.

        Raises:
            TypeError: it is of a kind that has no drawing.
        """
        if not isinstance(architecture, ConvolutionalArchitecture | CellArchitecture):
            raise TypeError(f"{architecture}: has no drawing; networks of a search and cells have")
        self._architecture = architecture

    def svg(self) -> bytes:
        """Give it as SVG, with an id for every box and line."""
        return self._saved("svg", metadata={"Date": None, "Creator": None})

    def png(self) -> bytes:
        """Give it as PNG."""
        return self._saved("png", metadata={"Software": None})

    def write(self, path: Path | str) -> None:
        """Write it to a new file, .svg or .png.

        Raises:
            ValueError: the file is to be of another kind.
            OSError: the file exists already, or cannot be written.
        """
        kinds = {".svg": self.svg, ".png": self.png}
        suffix = Path(path).suffix
        if suffix not in kinds:
            raise ValueError(f"path={path}: must end in {' or '.join(kinds)}")
        drawn = kinds[suffix]()
        with Path(path).open("xb") as file:
            file.write(drawn)

    def _repr_svg_(self) -> str:
        return self.svg().decode()

    def _saved(self, form: str, **options: Any) -> bytes:
        # What people have set for their own drawings has no say, and letters are drawn as shapes:
        # so it looks the same everywhere. Ids in an SVG are hashed with the salt, else random.
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams["svg.hashsalt"] = "nasrl"
            figure, saved = self._canvas().figure(), BytesIO()
            dots = min(PNG_DOTS_PER_INCH, MAX_PNG_SIZE / max(figure.get_size_inches()))
            figure.savefig(saved, format=form, dpi=dots, **options)
        return saved.getvalue()

    def _canvas(self) -> Canvas:
        if isinstance(self._architecture, ConvolutionalArchitecture):
            return draw_network(self._architecture)
        return draw_cell(self._architecture)
