"""`nasrl show`: one architecture as text, as JSON, as a drawing."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from support.children import completed, infeasible, start_of
from support.rounds import record_one

from child.convolutional.architecture import ConvolutionalArchitecture
from child.convolutional.layer import BatchNorm, Convolution, Layer, Pooling
from child.language.layers import LstmLayer
from child.metric import ACCURACY
from child.recurrent.equations import equations
from child.zoo import FIGURE_7, NAS_CELL
from controller.baseline import Baseline
from controller.ledger import Ledger
from controller.records import SearchRecord
from deploy.architecture_text import LSTM_EQUATIONS
from deploy.cli import main
from deploy.run import Run
from deploy.settings_file import load_settings

SMALL = ConvolutionalArchitecture((Layer(Convolution(3, 5, 36)),))
OTHER = ConvolutionalArchitecture((Layer(Convolution(7, 1, 24)),))


@pytest.fixture
def begun(tmp_path):
    """A run with four trials: completed, the best one, infeasible, and one only reserved."""
    run = Run.create(tmp_path / "run", load_settings())
    search = SearchRecord(4, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    metrics = {"num_multiply_adds": 4300665312, "latency_s": 0.00123456}
    best = replace(completed(0.5), num_parameters=12345, metrics=metrics)
    results = completed(0.25), best, infeasible("nan")
    with Ledger.create(run.ledger_url, search) as ledger:
        owner = ledger.enlist(0, ledger.begin_life("here", 1)).owner
        for trial, (result, shown) in enumerate(
            zip(results, (OTHER, SMALL, OTHER), strict=True), start=1
        ):
            ledger.reserve(owner, 1)
            start = replace(start_of(trial), architecture=shown.to_json(), seed=70 + trial)
            ledger.start(owner, [start])
            record_one(ledger, owner, trial, result)
        ledger.reserve(owner, 1)
        ledger.record_test(2, 0.9875)
    return run.path


@pytest.fixture
def empty(tmp_path):
    """A run in which nothing is completed."""
    run = Run.create(tmp_path / "empty", load_settings())
    search = SearchRecord(4, Baseline(0.9), run.settings.depths, ACCURACY, {}, {})
    Ledger.create(run.ledger_url, search).close()
    return run.path


@pytest.fixture
def show(capsys):
    """Give what a command prints; it must succeed."""

    def show(*arguments):
        assert main(["show", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    return show


@pytest.fixture
def refused(capsys):
    """Give the message of a command, which must be one line and code 2."""

    def refused(*arguments):
        assert main(["show", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        [line] = printed.err.splitlines()
        return line

    return refused


def cells(printed):
    """Give the lines of a table, each cut where there are two spaces or more."""
    return [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]


# --- As text.


@pytest.mark.parametrize("which", [(), ("best",), ("2",)])
def test_trial_says_what_is_known_of_it(begun, show, which):
    said = cells(show(begun, *which))

    assert said[:8] == [
        ["trial 2"],
        ["state", "completed, reward 0.500"],
        ["validation", "accuracy 50.0%"],
        ["test", "accuracy 98.8%"],
        ["parameters", "12,345"],
        ["seed", "72"],
        ["num_multiply_adds 4,300,665,312"],
        ["latency_s", "0.001235"],
    ]
    assert ["1", "convolution", "3x5", "36", "1x1", "image"] in said


def test_trial_may_be_named_with_its_run(begun, show):
    assert show(f"{begun}:1") == show(begun, 1)
    assert show(f"{begun}:best") == show(begun)


def test_infeasible_trial_is_shown_with_its_reason(begun, show):
    said = cells(show(begun, 3))

    assert said[1:3] == [["state", "infeasible, reward 0.000"], ["reason", "nan"]]
    assert ["1", "convolution", "7x1", "24", "1x1", "image"] in said


def test_network_is_listed_layer_by_layer(show, tmp_path):
    network = ConvolutionalArchitecture(
        (
            Layer(Convolution(3, 3, 8, 2, 1)),
            Layer(Pooling("average_pooling", 2, 2, 2, 2), (1,)),
            Layer(BatchNorm(), (0, 2)),
        ),
        pooled_after=(1,),
        also_classified=(1,),
        learning_rate=0.05,
    )
    path = tmp_path / "network.json"
    path.write_text(json.dumps(network.to_json()))
    said = cells(show(path))

    assert said[2:] == [
        ["1", "convolution", "3x3", "8", "2x1", "image"],
        ["all maps max-pooled", "2x2", "2x2"],
        ["2", "average pooling", "2x2", "2x2", "1"],
        ["3", "batch norm", "image, 2"],
        ["softmax", "1, 3"],
        [""],
        ["learning rate 0.05, decided with it"],
    ]


def test_cell_is_shown_as_equations(show):
    assert show("nas-cell").startswith(equations(NAS_CELL) + "\n")


def test_equations_of_the_lstm_are_those_of_its_layer(show):
    assert show("lstm").startswith(LSTM_EQUATIONS)
    torch.manual_seed(1)
    layer = LstmLayer(1, 1)
    x, h, c = 0.3, -0.4, 0.7
    _, (new_h, new_c) = layer(
        torch.tensor([[[x]]]), (torch.tensor([[h]]), torch.tensor([[c]])), None
    )
    names = {"x": x, "h": h, "c": c, "tanh": math.tanh, "sigmoid": lambda v: 1 / (1 + math.exp(-v))}
    for letter, weights in zip("WU", layer.lstm.all_weights[0], strict=True):
        names |= {f"{letter}{block}": weight.item() for block, weight in enumerate(weights)}
    for line in LSTM_EQUATIONS.splitlines():
        name, value = line.replace("c'", "c_new").replace("h'", "h_new").split(" = ")
        names[name] = eval(re.sub(r"([WU]\d) ", r"\1 * ", value), names)
    assert names["c_new"] == pytest.approx(new_c.item(), abs=1e-6)
    assert names["h_new"] == pytest.approx(new_h.item(), abs=1e-6)


# --- As JSON.


@pytest.mark.parametrize(
    ("name", "shown"), [("figure-7", FIGURE_7), ("nas-cell", NAS_CELL)], ids=["network", "cell"]
)
def test_json_can_be_read_again(name, shown, show, tmp_path):
    path = tmp_path / "shown.json"
    path.write_text(show(name, "--format", "json"))

    assert json.loads(path.read_text()) == shown.to_json()
    assert show(path) == show(name)


def test_json_of_a_trial_is_the_architecture_alone(begun, show):
    assert json.loads(show(begun, "--format", "json")) == SMALL.to_json()


# --- As a drawing.


@pytest.mark.parametrize(("suffix", "begin"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_drawing_is_written(suffix, begin, begun, tmp_path, show):
    out = tmp_path / f"best{suffix}"

    assert show(begun, "--out", out) == show(begun)
    assert out.read_bytes().startswith(begin)


def test_drawing_with_another_ending_is_refused(refused, tmp_path):
    out = tmp_path / "drawing.pdf"
    assert refused("figure-7", "-o", out) == f"Error: --out {out}: must end in .svg or .png"


def test_drawing_is_not_written_over(refused, tmp_path):
    out = tmp_path / "drawing.svg"
    out.write_text("mine")

    assert refused("figure-7", "-o", out) == f"Error: --out {out} exists already; give another"
    assert out.read_text() == "mine"


def test_drawing_that_cannot_be_written_is_refused(refused, tmp_path):
    out = tmp_path / "nowhere" / "drawing.svg"
    message = f"Error: --out {out} cannot be written: No such file or directory"
    assert refused("figure-7", "-o", out) == message


# --- What cannot be shown.


@pytest.mark.parametrize("options", [["--format", "json"], ["-o", "lstm.svg"]])
def test_lstm_has_neither_json_nor_a_drawing(options, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "lstm: has neither JSON nor a drawing" in refused("lstm", *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["7", "0", "99999999999999999999"])
def test_trial_that_is_not_there_is_refused(number, begun, refused):
    message = f"{begun} has no trial {number}; `nasrl trials {begun}` lists those it has"
    assert refused(begun, number) == f"Error: {message}"
    assert refused(f"{begun}:{number}") == f"Error: {message}"


def test_trial_without_an_architecture_is_refused(begun, refused):
    assert refused(begun, 4).startswith(
        f"Error: {begun} has no architecture for trial 4: it is reserved; `nasrl trials "
    )


def test_trial_that_is_no_number_is_refused(begun, refused):
    assert refused(begun, "x") == "Error: trial=x: must be the number of a trial, or best"


def test_run_without_a_completed_trial_has_no_best(empty, refused):
    assert f"{empty} has no completed trial" in refused(empty)


def test_trial_of_what_is_no_run_is_refused(refused):
    message = "Error: figure-7: must be a run directory, since trial 3 is asked for"
    assert refused("figure-7", 3) == message


def test_folder_that_is_no_run_is_refused(tmp_path, refused):
    assert refused(tmp_path) == (
        f"Error: {tmp_path} is not a run directory: it has no settings.yaml"
    )


def test_name_of_nothing_is_refused_with_what_may_stand_there(refused):
    assert refused("figure-8") == (
        "Error: figure-8: must be one of figure-7, nas-cell, lstm, a JSON file, a run directory, "
        "or RUN:TRIAL"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "must be a JSON object that describes an architecture"),
        ('{"depth": 3}', "one with layers, or with nodes"),
        ('{"layers": []}', "an architecture with layers: must have "),
        (json.dumps(SMALL.to_json() | {"layers": 3}), "describes no architecture: "),
        (json.dumps(SMALL.to_json() | {"layers": ["inputs"]}), "describes no architecture: "),
        (json.dumps(NAS_CELL.to_json() | {"inject_index": 15}), "inject_index=15: must be"),
        (b"\xff", "can't decode"),
    ],
)
def test_file_that_describes_no_architecture_is_refused(content, message, refused, tmp_path):
    path = tmp_path / "network.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    said = refused(path)

    assert said.startswith(f"Error: {path}: ")
    assert message in said


# --- Speed.


@pytest.mark.parametrize("arguments", [["figure-7"], ["nas-cell"], ["{begun}"]])
def test_text_needs_neither_torch_nor_matplotlib(arguments, begun):
    arguments = [argument.format(begun=begun) for argument in arguments]
    program = (
        "import sys; from deploy.cli import main; "
        f"assert main(['show', *{arguments!r}]) == 0; "
        "print({'torch', 'matplotlib', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
