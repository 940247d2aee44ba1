"""Code of the user's is found where it lies, whatever else has its name."""

from __future__ import annotations

import sys

import pytest

from child.custom.code import CodeError, files_of, named

pytestmark = pytest.mark.usefixtures("own_modules")


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder)


def test_it_is_imported_from_the_first_folder_that_has_it(tmp_path):
    first = write(tmp_path / "first", other="")
    second = write(tmp_path / "second", my_code="def train():\n    return 2")
    third = write(tmp_path / "third", my_code="def train():\n    return 3")

    assert named("my_code:train", [first, second, third])() == 2


def test_two_searches_of_one_process_have_each_their_own(tmp_path):
    text = "from my_part import NUMBER\ndef train():\n    return NUMBER"
    one = write(tmp_path / "one", my_code=text, my_part="NUMBER = 1")
    two = write(tmp_path / "two", my_code=text, my_part="NUMBER = 2")

    of_one, of_two, again = (named("my_code:train", [folder]) for folder in (one, two, one))

    assert (of_one(), of_two(), again()) == (1, 2, 1)


def test_so_have_two_with_packages(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "my_package", __init__="", part=f"NUMBER = {number}")
        write(
            folder / "my_package",
            train="from my_package.part import NUMBER\ndef train():\n    return NUMBER",
        )

    found = [
        named("my_package.train:train", [str(tmp_path / str(number))])() for number in (1, 2, 1)
    ]

    assert found == [1, 2, 1]


def test_the_folder_one_is_in_comes_last_whatever_python_has_put_first(tmp_path, monkeypatch):
    text = "from my_part import NUMBER\ndef train():\n    return NUMBER"
    kept = write(tmp_path / "code", my_code=text, my_part="NUMBER = 1")
    here = write(tmp_path / "here", my_code="broken(", my_part="NUMBER = 2")
    monkeypatch.chdir(here)
    sys.path.insert(0, "")

    assert named("my_code:train", [kept, here])() == 1
    assert [path.parent for path in files_of(["my_code:train"])] == [tmp_path / "code"] * 2


def test_nothing_but_the_users_own_is_forgotten(tmp_path):
    before = sys.modules["child.custom.code"], sys.modules["numpy"]
    for number in (1, 2):
        named("my_code:train", [write(tmp_path / str(number), my_code="def train(): pass")])

    assert (sys.modules["child.custom.code"], sys.modules["numpy"]) == before


def test_packages_and_modules_in_them_are_found(tmp_path):
    folder = write(tmp_path)
    write(tmp_path / "my_package", __init__="", inner="from my_package.deep import train")
    write(tmp_path / "my_package", deep="def train():\n    return 'deep'")

    assert named("my_package.inner:train", [folder])() == "deep"
    assert files_of(["my_package.inner:train"]) == [tmp_path / "my_package"]


def test_files_are_all_that_were_imported_from_the_same_folder(tmp_path):
    folder = write(
        tmp_path, my_code="import json, my_part\ndef train(): pass", my_part="", unused=""
    )

    named("my_code:train", [folder])

    assert files_of(["my_code:train"]) == [tmp_path / "my_code.py", tmp_path / "my_part.py"]


def test_what_is_imported_later_travels_too(tmp_path):
    folder = write(
        tmp_path,
        my_code="def train():\n    from my_late.part import NUMBER\n    import json",
        other="",
    )
    write(tmp_path / "my_late", __init__="", part="import my_last\nNUMBER = 1")
    write(tmp_path, my_last="")

    named("my_code:train", [folder])

    assert [path.name for path in files_of(["my_code:train"])] == [
        "my_code.py",
        "my_last.py",
        "my_late",
    ]


def test_our_own_packages_do_not_travel(tmp_path):
    text = "import child.space, nasrl\ndef train(): pass"
    folder = write(tmp_path, my_code=text)
    for room in ("child", "nasrl"):
        write(tmp_path / room, __init__="")

    named("my_code:train", [folder])

    assert files_of(["my_code:train"]) == [tmp_path / "my_code.py"]


def test_what_is_installed_has_no_files_to_travel():
    assert named("json:dumps", [])([1]) == "[1]"
    assert files_of(["json:dumps"]) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_code", "must be MODULE:NAME"),
        ("my-code:train", "must be MODULE:NAME"),
        ("nowhere:train", "there is no module nowhere: must be nowhere.py in"),
        ("nowhere.deep:train", "must be nowhere/deep.py in"),
        ("my_code:tran", "has none of that name"),
        ("my_code:NUMBER", "has something else of that name"),
        ("broken:train", "cannot be imported: ZeroDivisionError: division by zero (broken.py, "),
        ("wrong:train", "cannot be imported: SyntaxError: "),
        ("lacking:train", "ModuleNotFoundError: No module named 'nowhere' (lacking.py, line 1"),
        ("leaving:train", "cannot be imported: SystemExit: 3 (leaving.py, line 1"),
        ("json:train", "has the name of a module that is installed: give it another"),
        ("workers:train", "has the name of a module that is installed: give it another"),
    ],
)
def test_mistakes_are_named(tmp_path, name, said):
    folder = write(
        tmp_path,
        my_code="NUMBER = 1\ndef train(): pass",
        broken="1 / 0",
        wrong="1 +",
        lacking="import nowhere",
        leaving="raise SystemExit(3)",
        json="def train(): pass",
        workers="def train(): pass",
    )

    with pytest.raises(CodeError) as refusal:
        named(name, [folder])
    assert said in str(refusal.value)


def test_a_module_that_raised_is_imported_anew_when_it_is_mended(tmp_path):
    folder = write(tmp_path, my_code="1 / 0")
    with pytest.raises(CodeError):
        named("my_code:train", [folder])
    write(tmp_path, my_code="def train():\n    return 'mended and longer'")

    assert named("my_code:train", [folder])() == "mended and longer"
