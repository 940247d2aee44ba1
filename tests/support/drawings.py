"""What stands in a drawing."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from deploy.drawings.drawing import Drawing

SVG = "{http://www.w3.org/2000/svg}"


class Svg:
    """A drawing as an SVG.

    words: in the order in which they were written; letters are shapes, but each line of them has a
    comment.
    """

    def __init__(self, text: bytes) -> None:
        builder = ElementTree.TreeBuilder(insert_comments=True)
        root = ElementTree.fromstring(text, parser=ElementTree.XMLParser(target=builder))
        self._named = {e.get("id"): e for e in root.iter(f"{SVG}g") if e.get("id")}
        self.words = [(e.text or "").strip() for e in root.iter() if e.tag is ElementTree.Comment]

    @classmethod
    def of(cls, architecture: object, folder: Path) -> Svg:
        """Draw an architecture, and read the drawing again."""
        path = folder / "drawing.svg"
        Drawing(architecture).write(path)
        return cls(path.read_bytes())

    def ids(self, *kinds: str) -> set[str]:
        """Give the ids that begin with one of these words."""
        return {name for name in self._named if name.split("-")[0] in kinds}

    def style(self, name: str) -> str:
        """Give how the first shape of that id is drawn."""
        return next(self._named[name].iter(f"{SVG}path")).get("style") or ""

    def ends(self, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Give where a line of that id begins and ends, in points from the top left."""
        numbers = [
            float(part)
            for part in (next(self._named[name].iter(f"{SVG}path")).get("d") or "").split()
            if part[-1].isdigit()
        ]
        return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])
