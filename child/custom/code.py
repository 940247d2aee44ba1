"""Code of the user's: how it is found by the name in the settings."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from child.custom.failure import Failure

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_ROOMS = ("child", "controller", "deploy", "nasrl", "ps", "workers")


class CodeError(ValueError):
    """There is no such code, or it cannot be imported; the message says why."""


def named(name: str, folders: Sequence[str]) -> Callable[..., Any]:
    """Give what a name such as my_space:Space is of: a function or class in a module.

    From then on modules are found in these folders, too, after all others. One of the same name
    that was imported from elsewhere, for another search, is imported anew.

    Args:
        folders: where to look first, one after the other; then among what is installed.

    Raises:
        CodeError: there is none.
    """
    if not _NAME.fullmatch(name):
        raise CodeError("must be MODULE:NAME, such as my_space:Space, for a Space in my_space.py")
    module_name, _, attribute = name.partition(":")
    top = module_name.partition(".")[0]
    sys.path.extend(folder for folder in folders if folder not in sys.path)
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
        raise CodeError(f"must be a class or function, and {module.__file__} has none of that name")
    code: Callable[..., Any] = found
    return code


def files_of(names: Sequence[str]) -> list[Path]:
    """Give the files, and folders of packages, that these were imported from.

    With whatever else was imported from beside them; what is installed is left out.

    Args:
        names: as `named` takes them, after it has.
    """
    tops = {name.partition(":")[0].partition(".")[0] for name in names}
    folders = {
        path.parent
        for top in tops
        if (path := _path_of(top)) is not None and _installed(top) != path
    }
    beside = {_path_of(name) for name in list(sys.modules) if "." not in name}
    return sorted(path for path in beside if path is not None and path.parent in folders)


def _import(spec: ModuleSpec) -> None:
    """Import a module from where it was found, if that has not been done."""
    path = _path(spec)
    there = _path_of(spec.name)
    if there == path:
        return
    if spec.name in sys.builtin_module_names or _installed(spec.name) not in (None, path):
        raise CodeError(f"{path} has the name of a module that is installed: give it another")
    if there is not None:
        for name in list(sys.modules):
            other = _path_of(name.partition(".")[0])
            if other is not None and other.parent == there.parent:
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
    homes = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    own = str(Path(__file__).parents[2])
    spec = PathFinder.find_spec(top, [*homes, own] if top in _ROOMS else homes)
    return None if spec is None else _path(spec)


def _path_of(top: str) -> Path | None:
    """Give the file, or the folder of a package, that a module was imported from."""
    spec = getattr(sys.modules.get(top), "__spec__", None)
    return None if spec is None else _path(spec)


def _path(spec: ModuleSpec) -> Path | None:
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.has_location and spec.origin else None
