"""Code of the user's: how it is found by the name in the settings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from child.custom.failure import Failure

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# What `named` has put on the path of modules, and where it has found any.
_added: list[str] = []
_folders: set[Path] = set()
_ROOMS = ("child", "controller", "deploy", "nasrl", "ps", "workers")


class CodeError(ValueError):
    """There is no such code, or it cannot be imported; the message says why."""


def named(name: str, folders: Sequence[str]) -> Callable[..., Any]:
    """Give what a name such as my_space:Space is of: a function or class in a module.

    From then on modules are found in these folders, too, after all others, and no longer in those
    of the call before. What was imported from elsewhere by these names, for another search, is
    imported anew.

    Args:
        folders: where to look first, one after the other; then among what is installed.

    Raises:
        CodeError: there is none.
    """
    if not _NAME.fullmatch(name):
        raise CodeError("must be MODULE:NAME, such as my_space:Space, for a Space in my_space.py")
    module_name, _, attribute = name.partition(":")
    top = module_name.partition(".")[0]
    # `python -m` puts the folder one is in first, before one that is to come first.
    here = {"", str(Path.cwd())} if str(Path.cwd()) in folders else set()
    sys.path[:] = [folder for folder in sys.path if folder not in (*_added, *here)]
    _added[:] = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(_added)
    importlib.invalidate_caches()
    try:
        if (spec := PathFinder.find_spec(top, list(folders))) is not None:
            _import(spec)
        module = importlib.import_module(module_name)
    except CodeError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise CodeError(f"cannot be imported: {Failure.of(error).reason}") from error
        raise CodeError(
            f"there is no module {module_name}: must be {module_name.replace('.', '/')}.py in "
            f"{' or '.join(folders)}, or installed"
        ) from error
    except (Exception, SystemExit) as error:
        raise CodeError(f"cannot be imported: {Failure.of(error).reason}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        what = "none of that name" if found is None else "something else of that name"
        raise CodeError(f"must be a class or function, and {module.__file__} has {what}")
    code: Callable[..., Any] = found
    return code


def files_of(names: Sequence[str]) -> list[Path]:
    """Give the files, and folders of packages, that these need, as far as they are not installed.

    They are those of the modules, and of whatever these import from beside them, at any time.

    Args:
        names: as `named` takes them, after it has.
    """
    waiting = {name.partition(":")[0].partition(".")[0] for name in names}
    found: dict[str, Path] = {}
    while waiting:
        top = waiting.pop()
        path = found.get(top) or _path_of(top) or _beside(top, found.values())
        if top in found or path is None or path == _installed(top):
            continue
        found[top] = path
        waiting |= {name for name in _imported_by(path) if _beside(name, [path]) is not None} - set(
            found
        )
    return sorted(found.values())


def _imported_by(path: Path) -> set[str]:
    """Give the names of the modules, up to their first dot, that a file or package imports."""
    names: set[str] = set()
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # nothing that was imported
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


def _beside(top: str, paths: Iterable[Path]) -> Path | None:
    """Give where a module is that lies in the folder of one of these."""
    spec = PathFinder.find_spec(top, [str(path.parent) for path in paths])
    return None if spec is None else _path(spec)


def _import(spec: ModuleSpec) -> None:
    """Import a module from where it was found, if that has not been done."""
    path = _path(spec)
    there = _path_of(spec.name)
    if path is not None and path.parent not in _folders:
        _folders.add(path.parent)
    if there == path:
        return
    if spec.name in sys.builtin_module_names or _installed(spec.name) not in (None, path):
        raise CodeError(f"{path} has the name of a module that is installed: give it another")
    if there is not None:
        # With what was imported beside it, where that was done here: it may have the same names.
        folder = there.parent
        tops = {
            top
            for top in {name.partition(".")[0] for name in sys.modules} - set(_ROOMS)
            if (place := _path_of(top)) is not None
            and (place == there or (folder in _folders and place.parent == folder))
        }
        for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


def _installed(top: str) -> Path | None:
    """Give where a module is that comes with Python, with nasrl, or was installed."""
    if top in _ROOMS:
        return Path(__file__).resolve().parents[2] / top
    homes = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    spec = PathFinder.find_spec(top, [*homes, *site.getsitepackages(), site.getusersitepackages()])
    return None if spec is None else _path(spec)


def _path_of(top: str) -> Path | None:
    """Give the file, or the folder of a package, that a module was imported from."""
    spec = getattr(sys.modules.get(top), "__spec__", None)
    return None if spec is None else _path(spec)


def _path(spec: ModuleSpec) -> Path | None:
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else None
