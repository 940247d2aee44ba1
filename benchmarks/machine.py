"""The machine and the versions that figures are of."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version


def machine(*packages: str) -> str:
    """Say what this runs on, with nasrl's version and those of other packages that are installed.

    >>> machine("no-such-package").count("nasrl")
    1
    """
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {version(name)}" for name in ("nasrl", *packages) if is_installed(name)]
    return f"{platform.machine()}, {os.cpu_count()} cores; {', '.join(versions)}"


def is_installed(package: str) -> bool:
    """Tell whether a package is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
