"""The fast loops over the steps of a cell give what the plain loop gives."""

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pytest
import torch
from support.cells import ACTIVATIONS, COMBINATIONS, FIGURE_5, numbers, random_cell
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from child.recurrent import fast_unroll as module
from child.recurrent.architecture import CellArchitecture
from child.recurrent.fast_unroll import fast_unroll, prepare
from child.recurrent.node import Node
from child.recurrent.on_cpu.kernel import execute
from child.recurrent.on_gpu import unroll as gpu_module
from child.recurrent.on_gpu.run import run
from child.recurrent.on_gpu.unroll import unroll_on_gpu
from child.recurrent.recurrence import Recurrence
from child.recurrent.unroll import unroll
from child.zoo import NAS_CELL


class Sizes(NamedTuple):
    num_steps: int = 4
    batch: int = 3
    units: int = 5
    projection: int = 0
    is_biased: bool = False
    is_masked: bool = False


SIZES = [
    Sizes(),
    Sizes(num_steps=1),
    Sizes(batch=1),
    Sizes(num_steps=1, batch=1, units=1),
    Sizes(num_steps=2, is_biased=True),
    Sizes(num_steps=3, is_masked=True),
    Sizes(projection=2, is_biased=True),
    Sizes(projection=7, is_masked=True, is_biased=True),
]
NUM_INPUTS = 4
BASES = (1, 2, 3, 5, 8)
CELLS = [random_cell(seed, BASES[seed % len(BASES)]) for seed in range(50)]
NAMES = ("inputs", "weight_ih", "weight_hh", "bias_hh", "weight_hr", "h0", "c0", "recurrent_mask")


def that_of_gpu(cell, inputs, weight_ih, *others):
    """Take the loop that is for GPUs, on a CPU."""
    return unroll_on_gpu(cell, functional.linear(inputs, weight_ih), *others)


@pytest.fixture(params=[fast_unroll, that_of_gpu], ids=["cpu", "gpu"])
def loop(request):
    return request.param


def arguments(cell, sizes, *, seed=0, dtype=torch.float64):
    """Give the tensors for a loop, each but the mask with a gradient."""
    num_rows, width = cell.base * sizes.units, sizes.projection or sizes.units
    tensors = [
        numbers(seed, sizes.num_steps, sizes.batch, NUM_INPUTS),
        numbers(seed + 7, num_rows, NUM_INPUTS) / 2,
        numbers(seed + 1, num_rows, width) / width,  # no cell's products grow without bound
        numbers(seed + 2, num_rows) if sizes.is_biased else None,
        numbers(seed + 3, width, sizes.units) / sizes.units if sizes.projection else None,
        numbers(seed + 4, sizes.batch, width),
        numbers(seed + 5, sizes.batch, sizes.units),
    ]
    tensors = [each if each is None else each.to(dtype).requires_grad_() for each in tensors]
    mask = (numbers(seed + 6, sizes.batch, width) > 0).to(dtype) * 2 if sizes.is_masked else None
    return [*tensors, mask]


def gradients(loop, cell, tensors, of_results):
    """Give the results of a loop, and the gradients of all that have one, by name."""
    results = loop(cell, *tensors)
    given = {
        name: tensor
        for name, tensor in zip(NAMES, tensors, strict=True)
        if tensor is not None and tensor.requires_grad
    }
    found = torch.autograd.grad(results, list(given.values()), of_results, materialize_grads=True)
    return results, dict(zip(given, found, strict=True))


def of_results(cell, sizes):
    """Give a gradient of each result."""
    width = sizes.projection or sizes.units
    shapes = (sizes.num_steps, sizes.batch, width), (sizes.batch, width), (sizes.batch, sizes.units)
    return [numbers(9 + place, *shape) for place, shape in enumerate(shapes)]


def assert_same(loop, cell, sizes, *, tolerance=1e-12, dtype=torch.float64):
    tensors = arguments(cell, sizes, dtype=dtype)
    given = [each.to(dtype) for each in of_results(cell, sizes)]
    results, found = gradients(loop, cell, tensors, given)
    expected_results, expected = gradients(unroll, cell, tensors, given)
    # Products and gradients may be large: a bit of them is as a bit of their largest value.
    for name, one, other in zip(("outputs", "h", "c"), results, expected_results, strict=True):
        assert_close(one, other, tolerance, name)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, tolerance, name)


def assert_close(one, other, tolerance, name):
    assert one.shape == other.shape, name
    assert one.dtype == other.dtype, name
    largest = max(1.0, other.abs().max().item())
    assert (one - other).abs().max().item() <= tolerance * largest, name


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_values_and_gradients_are_those_of_plain_loop(loop, cell):
    for sizes in SIZES:
        assert_same(loop, cell, sizes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_both_indices_may_name_any_node(loop, combination, activation):
    node = Node(combination, activation)
    for memory_index, inject_index in product(range(3), repeat=2):
        cell = CellArchitecture((node,) * 3, node, memory_index, inject_index)
        assert_same(loop, cell, Sizes(num_steps=3, batch=2, units=2))


@pytest.mark.parametrize("cell", [NAS_CELL, FIGURE_5, *CELLS[:5]], ids=str)
def test_float32_is_close(loop, cell):
    assert_same(loop, cell, Sizes(num_steps=6), tolerance=2e-5, dtype=torch.float32)


@pytest.mark.parametrize("base", [1, 2, 3, 8])
def test_gradients_are_those_of_finite_differences(loop, base):
    # Sines are smooth; the maximum is, too, away from equal values.
    cell = random_cell(4, base)
    cell = replace(cell, nodes=tuple(Node(each.combination, "sin") for each in cell.nodes))
    tensors = arguments(cell, Sizes(3, 2, 2, projection=2, is_biased=True))

    assert torch.autograd.gradcheck(lambda *given: loop(cell, *given, None), tensors[:-1])


@pytest.mark.parametrize("name", NAMES[:-1])
def test_gradient_of_one_argument_alone(loop, name):
    sizes = Sizes(projection=3, is_biased=True)
    tensors = arguments(NAS_CELL, sizes)
    tensors = [
        each if each is None else each.detach().requires_grad_(other == name)
        for other, each in zip(NAMES, tensors, strict=True)
    ]
    given = of_results(NAS_CELL, sizes)

    _, found = gradients(loop, NAS_CELL, tensors, given)
    _, expected = gradients(unroll, NAS_CELL, tensors, given)

    assert list(found) == [name]
    assert_close(found[name], expected[name], 1e-12, name)


@pytest.mark.parametrize("which", range(3))
def test_gradient_of_one_result_alone(loop, which):
    tensors = arguments(NAS_CELL, Sizes())
    found = torch.autograd.grad(loop(NAS_CELL, *tensors)[which].sum(), tensors[0])
    expected = torch.autograd.grad(unroll(NAS_CELL, *tensors)[which].sum(), tensors[0])
    assert_close(*found, *expected, 1e-12, "inputs")


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("cell", [NAS_CELL, *CELLS[:5]], ids=str)
def test_values_without_gradients_are_the_same(loop, cell, sizes):
    tensors = arguments(cell, sizes._replace(num_steps=sizes.num_steps + 3))
    with torch.no_grad():
        results, expected = loop(cell, *tensors), unroll(cell, *tensors)
    for one, other in zip(results, expected, strict=True):
        assert not one.requires_grad
        assert_close(one, other, 1e-12, "")


def test_without_gradients_two_steps_are_kept_on_gpu(monkeypatch):
    found = []

    def noted(*given, num_recorded):
        found.append(num_recorded)
        return run(*given, num_recorded=num_recorded)

    monkeypatch.setattr(gpu_module, "run", noted)
    tensors = arguments(NAS_CELL, Sizes(num_steps=5))
    that_of_gpu(NAS_CELL, *tensors)
    with torch.no_grad():
        that_of_gpu(NAS_CELL, *tensors)
    that_of_gpu(NAS_CELL, *(each if each is None else each.detach() for each in tensors))
    assert found == [5, 2, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("cell", [NAS_CELL, *CELLS[:10]], ids=str)
def test_numbers_that_are_not_finite_stay_so(loop, cell, bad):
    tensors = arguments(cell, Sizes())
    with torch.no_grad():
        tensors[0][1, 0, 0] = bad
    for one, other in zip(loop(cell, *tensors), unroll(cell, *tensors), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_nan_reaches_gradients_as_in_plain_loop(loop):
    tensors = arguments(NAS_CELL, Sizes())
    with torch.no_grad():
        tensors[0][1, 0, 0] = float("nan")
    for each in (loop, unroll):
        of_weight = torch.autograd.grad(each(NAS_CELL, *tensors)[0].sum(), tensors[2])[0]
        assert of_weight.isnan().any(), each


@pytest.mark.parametrize("sizes", [Sizes(), Sizes(projection=2)], ids=str)
def test_results_may_be_changed_before_backward_pass(loop, sizes):
    tensors = arguments(NAS_CELL, sizes)
    given = of_results(NAS_CELL, sizes)
    _, expected = gradients(unroll, NAS_CELL, tensors, given)
    results = loop(NAS_CELL, *tensors)
    for each in results:
        each.data.zero_()  # unnoticed by autograd

    found = torch.autograd.grad(results, tensors[:3], given)

    for name, gradient in zip(NAMES, found, strict=False):
        assert_close(gradient, expected[name], 1e-12, name)


def test_outputs_may_be_changed_in_place(loop):
    tensors = arguments(NAS_CELL, Sizes())
    found = [
        torch.autograd.grad(each(NAS_CELL, *tensors)[0].mul_(2).sum(), tensors[0])[0]
        for each in (loop, unroll)
    ]
    assert_close(*found, 1e-12, "inputs")


def test_results_share_no_memory(loop):
    cell = CellArchitecture((Node("add", "identity"),), Node("add", "identity"), 0, 0)
    outputs, h, c = loop(cell, *arguments(cell, Sizes()))
    assert len({each.untyped_storage().data_ptr() for each in (outputs, h, c)}) == 3
    for each in (outputs, h, c):
        assert each.untyped_storage().nbytes() == each.numel() * each.element_size()


def test_equal_values_share_gradient_of_their_maximum(loop):
    sizes = Sizes()
    pair = Node("add", "tanh")
    cell = CellArchitecture((pair, pair, Node("max", "tanh")), Node("add", "tanh"), 2, 2)
    tensors = arguments(cell, sizes)
    for weight in (1, 2):
        tensors[weight] = torch.cat([tensors[weight][:5]] * 2)
    tensors = [each if each is None else each.detach().requires_grad_() for each in tensors]
    given = of_results(cell, sizes)

    _, found = gradients(loop, cell, tensors, given)
    _, expected = gradients(unroll, cell, tensors, given)

    assert_close(found["inputs"], expected["inputs"], 1e-12, "")


def test_arguments_are_not_changed(loop):
    tensors = arguments(NAS_CELL, Sizes(projection=2, is_biased=True, is_masked=True))
    before = [each.detach().clone() for each in tensors]
    sum(each.sum() for each in loop(NAS_CELL, *tensors)).backward()
    assert all(torch.equal(*each) for each in zip(tensors, before, strict=True))


def test_backward_pass_can_be_repeated_if_graph_is_kept(loop):
    tensors = arguments(CELLS[4], Sizes())
    outputs = loop(CELLS[4], *tensors)[0].sum()
    first = torch.autograd.grad(outputs, tensors[:3], retain_graph=True)
    second = torch.autograd.grad(outputs, tensors[:3])
    assert all(torch.equal(*each) for each in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(outputs, tensors[:3])


@pytest.mark.parametrize("power", [1, 2])
def test_second_derivative_is_refused(loop, power):
    tensors = arguments(NAS_CELL, Sizes())
    outputs = loop(NAS_CELL, *tensors)[0].pow(power).sum()
    with pytest.raises(RuntimeError, match=r"second derivatives; set the attribute `unroll`"):
        torch.autograd.grad(outputs, tensors[0], create_graph=True)


def test_second_derivatives_are_those_of_the_plain_loop():
    network = Recurrence(NAS_CELL, 3, 2, dtype=torch.float64)
    network.unroll = unroll
    inputs = numbers(0, 2, 1, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: network(x)[0], inputs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own
def test_forward_mode_is_refused(loop):
    first, *others = arguments(NAS_CELL, Sizes())
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(first, torch.ones_like(first))
        with pytest.raises(RuntimeError, match="jvp"):
            loop(NAS_CELL, dual, *others)


def test_torch_func_is_refused(loop):
    tensors = arguments(NAS_CELL, Sizes())
    with pytest.raises(RuntimeError, match="functorch"):
        torch.func.grad(lambda x: loop(NAS_CELL, x, *tensors[1:])[0].sum())(tensors[0])


def test_network_takes_it_or_the_loop_that_it_is_told():
    calls = []

    def noted(*given):
        calls.append(given[0])
        return unroll(*given)

    network = Recurrence(NAS_CELL, 3, 4, num_layers=2, dtype=torch.float64)
    assert network.unroll is fast_unroll
    found, _ = network(numbers(0, 5, 2, 3))
    network.unroll = noted
    expected, _ = network(numbers(0, 5, 2, 3))

    assert_close(found, expected, 1e-12, "outputs")
    assert calls == [NAS_CELL] * 2


def test_views_and_strides_are_taken(loop):
    sizes = Sizes()
    tensors = arguments(NAS_CELL, sizes)
    strided = [
        each if each is None else each.detach().mT.contiguous().mT.requires_grad_()
        for each in tensors
    ]
    given = of_results(NAS_CELL, sizes)
    _, found = gradients(loop, NAS_CELL, strided, given)
    _, expected = gradients(unroll, NAS_CELL, tensors, given)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, 1e-12, name)


class Holder:
    """What autograd keeps of a tensor."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_what_is_kept_is_free_after_backward_pass(loop):
    held = weakref.WeakSet()

    def pack(tensor):
        held.add(holder := Holder(tensor))
        return holder

    tensors = arguments(NAS_CELL, Sizes(projection=2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
        results = loop(NAS_CELL, *tensors)
    assert sum(each.tensor.numel() for each in held) > 8 * results[0].numel()

    sum(each.sum() for each in results).backward()

    assert not held, "the results are still there, what they were made of need not be"


def test_repeated_calls_leave_no_tensors(loop):
    tensors = arguments(NAS_CELL, Sizes())

    def num_tensors():
        loop(NAS_CELL, *tensors)[0].sum().backward()
        gc.collect()
        return sum(type(each) is torch.Tensor for each in gc.get_objects())

    before = num_tensors()
    assert [num_tensors() for _ in range(3)] == [before] * 3


def test_layout_of_saved_tensors_does_not_matter(loop):
    tensors = arguments(CELLS[3], Sizes())
    given = of_results(CELLS[3], Sizes())
    _, expected = gradients(unroll, CELLS[3], tensors, given)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.mT.contiguous(), lambda t: t.mT):
        _, found = gradients(loop, CELLS[3], tensors, given)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, 1e-12, name)


def test_gradients_of_many_threads_are_those_of_one():
    def train(seed):
        cell = CELLS[seed]
        tensors = arguments(cell, Sizes(num_steps=20, batch=8, units=16), seed=seed)
        return torch.autograd.grad(fast_unroll(cell, *tensors)[0].sum(), tensors[:3])

    serial = list(map(train, range(12)))
    with ThreadPoolExecutor(6) as threads:
        for one, other in zip(threads.map(train, range(12)), serial, strict=True):
            assert all(map(torch.equal, one, other))


def test_sizes_that_do_not_fit_are_an_error_of_torch():
    network = Recurrence(NAS_CELL, 3, 6)
    network.architecture = CELLS[0]
    assert network.architecture.base == 1
    with pytest.raises(RuntimeError, match="size"):
        network(torch.ones(2, 2, 3))


@pytest.mark.parametrize(("of_inputs", "of_hidden"), [(35, 40), (40, 35), (41, 41), (48, 40)])
def test_weights_that_do_not_fit_are_an_error_of_torch(of_inputs, of_hidden):
    tensors = arguments(NAS_CELL, Sizes())
    tensors[1], tensors[2] = numbers(0, of_inputs, NUM_INPUTS), numbers(0, of_hidden, 5)
    with pytest.raises((RuntimeError, IndexError), match=r"size|shape|index"):
        fast_unroll(NAS_CELL, *tensors)


def test_prepared_process_compiles_nothing_later():
    prepare(torch.device("cpu"))
    compiled = set(execute.signatures)
    sum(each.sum() for each in fast_unroll(NAS_CELL, *floats())).backward()
    assert set(execute.signatures) == compiled


def floats():
    return arguments(NAS_CELL, Sizes(), dtype=torch.float32)


def test_packages_that_may_not_need_it_do_without_numba():
    code = "import deploy.settings, child.zoo, child.recurrent, sys; print('numba' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


class Taken(Exception):
    """The plain loop was taken."""


@pytest.fixture
def plain_is_marked(monkeypatch):
    def taken(*_):
        raise Taken

    monkeypatch.setattr(module, "unroll", taken)


@pytest.mark.usefixtures("plain_is_marked")
class TestPlainLoop:
    def test_is_not_taken_else(self):
        fast_unroll(NAS_CELL, *arguments(NAS_CELL, Sizes(is_masked=True)))

    def test_is_taken_under_autocast(self):
        tensors = arguments(NAS_CELL, Sizes(), dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(Taken):
            fast_unroll(NAS_CELL, *tensors)

    def test_is_taken_for_gradient_of_mask(self):
        tensors = arguments(NAS_CELL, Sizes(is_masked=True))
        tensors[-1].requires_grad_()
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *tensors)

    def test_is_taken_for_formats_of_fewer_bits(self):
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *arguments(NAS_CELL, Sizes(), dtype=torch.bfloat16))

    def test_is_taken_for_several_formats(self):
        tensors = arguments(NAS_CELL, Sizes())
        tensors[5] = tensors[5].float()
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *tensors)

    def test_is_taken_for_state_that_stands_for_many(self):
        tensors = arguments(NAS_CELL, Sizes())
        tensors[6] = tensors[6][:1]
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *tensors)

    def test_is_taken_while_operations_are_counted(self):
        with FlopCounterMode(display=False), pytest.raises(Taken):
            fast_unroll(NAS_CELL, *arguments(NAS_CELL, Sizes()))

    def test_is_taken_for_tensors_that_only_pretend(self):
        with FakeTensorMode() as mode:
            tensors = [
                each if each is None else mode.from_tensor(each.detach())
                for each in arguments(NAS_CELL, Sizes())
            ]
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *tensors)

    @pytest.mark.parametrize(
        ("watcher", "question"), [(torch.compiler, "is_compiling"), (torch.jit, "is_tracing")]
    )
    def test_is_taken_while_somebody_traces(self, monkeypatch, watcher, question):
        monkeypatch.setattr(watcher, question, lambda: True)
        with pytest.raises(Taken):
            fast_unroll(NAS_CELL, *arguments(NAS_CELL, Sizes()))
