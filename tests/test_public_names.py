import subprocess
import sys

import pytest

import nasrl

NAMES = [
    "AnchorDecision",
    "ChoiceSpace",
    "Choose",
    "Decision",
    "Infeasible",
    "Outcome",
    "Results",
    "Run",
    "RunError",
    "SearchSettings",
    "SettingsError",
    "Space",
    "load_settings",
]


def test_face_exports_these_names_and_no_others():
    assert nasrl.__all__ == NAMES
    assert dir(nasrl) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_exported_name_is_there(name):
    assert getattr(nasrl, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Serach'"):
        _ = nasrl.Serach


def test_import_of_the_face_is_light():
    script = "import sys, nasrl; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
