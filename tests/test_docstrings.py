import doctest
import importlib
import pkgutil

import pytest

ROOMS = ("ps", "child", "controller", "workers", "deploy", "nasrl")


def modules():
    for room in ROOMS:
        package = importlib.import_module(room)
        yield room
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not found.name.startswith("ps.rpc.") and not found.name.endswith("__main__"):
                yield found.name


MODULES = list(modules())


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    found = [doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES]
    assert sum(bool(test.examples) for tests in found for test in tests) >= 4


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_in_a_sentence_what_it_is(name):
    first = (importlib.import_module(name).__doc__ or "").strip().partition("\n")[0]
    assert first.endswith("."), f"{name}: {first!r}"
