from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.spaces import ChainSpace, ConditionalSpace, all_lists

from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.space import AnchorDecision
from controller.policy import Policy, PolicySettings

# Far from uniform, so that a wrong step shows.
SETTINGS = PolicySettings(hidden_size=7, num_layers=2, embedding_size=5, init_range=1.0)

BY_POSITION = SETTINGS.model_copy(update={"sharing": "position"})

CHAIN = ChainSpace({"color": 2, "shape": 3})
CONDITIONAL = ConditionalSpace()


def convolutional(**settings):
    small = {"filter_heights": (1, 3), "filter_widths": (5, 7), "num_filters": (2, 3, 4)}
    return ConvolutionalSpace(ConvolutionalSettings(**small | settings))


CONVOLUTIONAL = convolutional(skip_connections=False)
SKIPS = convolutional(filter_widths=(5,), num_filters=(2,))
# The anchor points of one batch are met at different steps, and have different numbers of bits.
TYPED_SKIPS = convolutional(
    filter_heights=(3,), filter_widths=(5,), layer_types=("convolution", "batch_norm")
)
# The learning rate stands at whichever step a network ends.
TYPED_RATES = convolutional(
    filter_widths=(5,),
    num_filters=(2,),
    layer_types=("convolution", "batch_norm"),
    skip_connections=False,
    learning_rates=(0.1, 0.05, 0.01),
)
CHAINED_SKIPS = convolutional(
    filter_heights=(3,), filter_widths=(5,), num_filters=(2,), is_chained=True
)
ONLY_SKIPS = convolutional(filter_heights=(3,), filter_widths=(5,), num_filters=(2,))
SPACES = [
    pytest.param(CHAIN, 2, id="chain, 2 layers"),
    pytest.param(CONVOLUTIONAL, 2, id="convolutional, 2 layers"),
    pytest.param(CONDITIONAL, 1, id="conditional, 1 layer"),
    pytest.param(CONDITIONAL, 2, id="conditional, 2 layers"),
    pytest.param(SKIPS, 3, id="skips, 3 layers"),
    pytest.param(TYPED_SKIPS, 3, id="types and skips, 3 layers"),
    pytest.param(TYPED_RATES, 2, id="types and learning rate, 2 layers"),
    pytest.param(ONLY_SKIPS, 4, id="nothing but skips, 4 layers"),
    pytest.param(CHAINED_SKIPS, 4, id="chained skips, 4 layers"),
]
SHARINGS = ["kind", "position"]
ALL_SPACES = [CHAIN, CONDITIONAL, CONVOLUTIONAL, SKIPS, TYPED_SKIPS, TYPED_RATES]


def make_policy(space, settings=SETTINGS, seed=0, deepest=4):
    return Policy(space, settings, deepest, np.random.default_rng(seed))


def generators(number, start=0):
    return [np.random.default_rng((1, start + i)) for i in range(number)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tempered(logits, temperature, tanh_constant):
    """Give logits as ENAS has them (Pham et al. 2018, s3.1)."""
    logits = logits / temperature
    return logits if tanh_constant is None else tanh_constant * np.tanh(logits)


def by_the_equations(
    policy, space, choices, depth, temperature=1.0, sharing="kind", tanh_constant=None
):
    """Give the log-probability of every choice by the equations of the paper, in float64.

    One rollout, one step, one layer, one bit at a time. i, f, g, o: input gate, forget gate,
    candidate, output gate of the LSTM.
    """
    weights = {name: p.detach().double().numpy() for name, p in policy.named_parameters()}
    num_layers = sum("weight_hh" in name for name in weights)
    hidden_size = weights["lstm.weight_hh_l0"].shape[1]
    h = np.zeros((num_layers, hidden_size))
    c = np.zeros((num_layers, hidden_size))
    x = weights.get("first_input", np.zeros(weights["lstm.weight_ih_l0"].shape[1]))
    log_probs = []
    at_anchors = []
    for step, choice in enumerate(choices):
        for layer in range(num_layers):
            gates = (
                weights[f"lstm.weight_ih_l{layer}"] @ x
                + weights[f"lstm.bias_ih_l{layer}"]
                + weights[f"lstm.weight_hh_l{layer}"] @ h[layer]
                + weights[f"lstm.bias_hh_l{layer}"]
            )
            i, f, g, o = np.split(gates, 4)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
            h[layer] = sigmoid(o) * np.tanh(c[layer])
            x = h[layer]
        decision = space.next_decision(choices[:step], depth)
        if isinstance(decision, AnchorDecision):
            log_prob, taken = 0.0, []
            for j in range(decision.num_earlier):
                mixed = weights["anchors.previous.weight"] @ at_anchors[j]
                mixed = np.tanh(mixed + weights["anchors.current.weight"] @ x)
                probability = sigmoid(
                    tempered(weights["anchors.vector"] @ mixed, temperature, tanh_constant)
                )
                is_taken = choice // 2**j % 2 == 1
                log_prob += np.log(probability if is_taken else 1 - probability)
                taken += [at_anchors[j]] * is_taken
            log_probs.append(log_prob)
            at_anchors.append(x.copy())
            if "anchors.input" in weights:
                x = weights["anchors.input"]
            else:
                mean = np.mean(taken, axis=0) if taken else np.zeros(hidden_size)
                x = weights["anchors.embedding.weight"] @ mean + weights["anchors.embedding.bias"]
            continue
        kind = f"of_{decision.kind}"
        name = {"kind": kind, "position": f"at_{step}_{kind}"}[sharing]
        logits = weights[f"softmaxes.{name}.weight"] @ x + weights[f"softmaxes.{name}.bias"]
        logits = tempered(logits, temperature, tanh_constant)
        log_probs.append(logits[choice] - np.log(np.exp(logits).sum()))
        x = weights[f"embeddings.{name}.weight"][choice]
    return log_probs


def test_settings_by_default_are_those_of_the_paper():
    settings = PolicySettings()

    assert (settings.hidden_size, settings.num_layers, settings.init_range) == (35, 2, 0.08)
    assert settings.temperature == 1


def test_settings_by_default_share_weights_per_kind():
    assert PolicySettings().sharing == "kind"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_layers": 0}, "num_layers"),
        ({"embedding_size": 0}, "embedding_size"),
        ({"init_range": 0}, "init_range"),
        ({"temperature": 0}, "temperature"),
        ({"tanh_constant": 0}, "tanh_constant"),
        ({"first_input": "ones"}, "first_input"),
        ({"anchor_input": "sum"}, "anchor_input"),
        ({"sharing": "layer"}, "sharing"),
        ({"size": 2}, "size\n.*not permitted"),
    ],
)
def test_settings_that_make_no_policy_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PolicySettings(**settings)


# --- The first weights.


def test_policy_by_default_has_two_layers_of_35_units():
    policy = make_policy(CHAIN, PolicySettings())

    shapes = {name: tuple(p.shape) for name, p in policy.named_parameters()}
    assert shapes == {
        "first_input": (35,),
        "lstm.weight_ih_l0": (140, 35),
        "lstm.weight_hh_l0": (140, 35),
        "lstm.bias_ih_l0": (140,),
        "lstm.bias_hh_l0": (140,),
        "lstm.weight_ih_l1": (140, 35),
        "lstm.weight_hh_l1": (140, 35),
        "lstm.bias_ih_l1": (140,),
        "lstm.bias_hh_l1": (140,),
        "embeddings.of_color.weight": (2, 35),
        "embeddings.of_shape.weight": (3, 35),
        "softmaxes.of_color.weight": (2, 35),
        "softmaxes.of_color.bias": (2,),
        "softmaxes.of_shape.weight": (3, 35),
        "softmaxes.of_shape.bias": (3,),
    }


@pytest.mark.parametrize("init_range", [0.08, 0.5])
def test_weights_all_start_uniform_within_the_range(init_range):
    policy = make_policy(CONVOLUTIONAL, PolicySettings(init_range=init_range))

    weights = torch.cat([p.detach().flatten() for p in policy.parameters()]).numpy()
    by_tenth, _ = np.histogram(weights, bins=10, range=(-init_range, init_range))
    assert by_tenth.sum() == len(weights)
    assert np.abs(weights).max() > 0.99 * init_range
    deviation = np.sqrt(len(weights) * 0.1 * 0.9)
    assert np.abs(by_tenth - len(weights) / 10).max() < 4 * deviation
    for name, parameter in policy.named_parameters():
        assert len(parameter.unique()) > 0.9 * parameter.numel(), name


def test_weights_are_a_function_of_the_generator_alone():
    one = make_policy(CONDITIONAL, seed=3).state_dict()
    torch.rand(100)
    same = make_policy(CONDITIONAL, seed=3).state_dict()
    other = make_policy(CONDITIONAL, seed=4).state_dict()

    for name in one:
        assert torch.equal(one[name], same[name]), name
        assert not torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("kind", ["type", "keys", "forward"])
def test_decision_may_be_of_a_kind_that_is_also_a_name_of_torch(kind):
    policy = make_policy(ChainSpace({kind: 2}))

    assert policy.log_probs([1], [[1]]).shape == (1, 1)


# --- What decisions have in common.


def shapes_of(policy, part):
    """Give the shapes of the embeddings or softmaxes, by the name of the tensor."""
    parameters = policy.named_parameters()
    return {
        name.partition(".")[2]: tuple(p.shape) for name, p in parameters if name.startswith(part)
    }


def test_policy_by_position_has_an_embedding_and_a_softmax_for_every_step():
    policy = make_policy(CHAIN, BY_POSITION, deepest=2)

    assert shapes_of(policy, "embeddings") == {
        "at_0_of_color.weight": (2, 5),
        "at_1_of_shape.weight": (3, 5),
        "at_2_of_color.weight": (2, 5),
        "at_3_of_shape.weight": (3, 5),
    }
    assert shapes_of(policy, "softmaxes") == {
        "at_0_of_color.weight": (2, 7),
        "at_0_of_color.bias": (2,),
        "at_1_of_shape.weight": (3, 7),
        "at_1_of_shape.bias": (3,),
        "at_2_of_color.weight": (2, 7),
        "at_2_of_color.bias": (2,),
        "at_3_of_shape.weight": (3, 7),
        "at_3_of_shape.bias": (3,),
    }


def test_policy_by_position_of_a_conditional_space_has_weights_for_all_that_may_stand_at_a_step():
    names = set(shapes_of(make_policy(TYPED_RATES, BY_POSITION, deepest=2), "embeddings"))

    # Type and height, or a type alone; then the same again; then the learning rate.
    assert names == {
        *("at_0_of_layer_type.weight", "at_1_of_filter_height.weight"),
        *("at_1_of_layer_type.weight", "at_2_of_layer_type.weight"),
        *("at_2_of_filter_height.weight", "at_3_of_filter_height.weight"),
        *(f"at_{step}_of_learning_rate.weight" for step in (1, 2, 3, 4)),
    }


def test_policy_by_position_of_one_kind_at_two_steps_has_weights_of_their_own_there():
    policy = make_policy(CHAIN, BY_POSITION, deepest=2)
    lists = [[0, 1, 0, 1]]
    before = policy.log_probs([2], lists).detach()

    with torch.no_grad():
        policy.get_parameter("softmaxes.at_2_of_color.bias")[0] += 1
    after = policy.log_probs([2], lists).detach()

    is_same = (after == before)[0].tolist()
    assert is_same == [True, True, False, True]
    assert not torch.equal(
        policy.get_parameter("embeddings.at_0_of_color.weight"),
        policy.get_parameter("embeddings.at_2_of_color.weight"),
    )


def test_policy_by_kind_has_the_same_weights_whatever_its_depth():
    shallow = make_policy(TYPED_RATES, deepest=1).state_dict()
    deep = make_policy(TYPED_RATES, deepest=9).state_dict()

    assert shallow.keys() == deep.keys()
    assert all(torch.equal(shallow[name], deep[name]) for name in shallow)
    assert make_policy(TYPED_RATES, deepest=1).sample([9], generators(1))


def test_anchor_points_share_their_weights_also_by_position():
    by_kind, by_position = (
        {n: p.shape for n, p in make_policy(SKIPS, s).named_parameters() if "anchors" in n}
        for s in (SETTINGS, BY_POSITION)
    )

    assert by_position == by_kind != {}


@pytest.mark.parametrize("depths", [[3], [1, 3, 2]])
def test_depth_beyond_the_deepest_is_refused_by_position(depths):
    policy = make_policy(CHAIN, BY_POSITION, deepest=2)
    complaint = "depth=3: must be at most 2; with sharing=position the policy has weights for"

    with pytest.raises(ValueError, match=complaint):
        policy.sample(depths, generators(len(depths)))
    with pytest.raises(ValueError, match=complaint):
        policy.log_probs(depths, [[0, 1] * depth for depth in depths])


def test_cells_are_written_by_position():
    space = RecurrentSpace(RecurrentSettings(base=2))
    policy = make_policy(space, BY_POSITION, deepest=2)

    rollouts = policy.sample([2, 2], generators(2))

    assert len(shapes_of(policy, "embeddings")) == len(rollouts[0].choices) == 10
    assert all(space.decode(rollout.choices, 2).base == 2 for rollout in rollouts)


# --- Probabilities.


@pytest.mark.parametrize(("space", "depth"), SPACES)
@pytest.mark.parametrize("init_range", [0.08, 1.0, 5.0])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_probabilities_of_all_lists_sum_to_1(space, depth, init_range, sharing):
    changed = {"init_range": init_range, "sharing": sharing}
    policy = make_policy(space, SETTINGS.model_copy(update=changed))
    lists = list(all_lists(space, depth))

    log_probs = policy.log_probs([depth] * len(lists), lists).detach().double()

    assert log_probs.sum(dim=1).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("space", "depth"), SPACES)
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_log_probs_are_those_of_the_equations_one_rollout_at_a_time(
    space, depth, num_layers, sharing
):
    changed = {"num_layers": num_layers, "sharing": sharing}
    policy = make_policy(space, SETTINGS.model_copy(update=changed))
    lists = list(all_lists(space, depth))[::3]

    log_probs = policy.log_probs([depth] * len(lists), lists).detach().numpy()

    for row, choices in zip(log_probs, lists, strict=True):
        expected = by_the_equations(policy, space, choices, depth, sharing=sharing)
        np.testing.assert_allclose(row[: len(choices)], expected, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"first_input": "zeros"},
        {"anchor_input": "learned"},
        {"temperature": 0.5},
        {"tanh_constant": 0.75},
        {"tanh_constant": 2.5, "temperature": 0.4},
    ],
    ids=str,
)
@pytest.mark.parametrize("space", [SKIPS, TYPED_SKIPS])
def test_log_probs_with_other_settings_are_those_of_the_equations(space, changed):
    policy = make_policy(space, SETTINGS.model_copy(update=changed))
    lists = list(all_lists(space, 3))[::5]

    log_probs = policy.log_probs([3] * len(lists), lists).detach().numpy()

    temperature = changed.get("temperature", 1.0)
    for row, choices in zip(log_probs, lists, strict=True):
        tanh_constant = changed.get("tanh_constant")
        expected = by_the_equations(
            policy, space, choices, 3, temperature, tanh_constant=tanh_constant
        )
        np.testing.assert_allclose(row[: len(choices)], expected, atol=1e-5)


def test_first_input_and_the_one_after_an_anchor_point_are_weights_only_where_they_are_learned():
    names = {name for name, _ in make_policy(SKIPS).named_parameters()}
    changed = {"first_input": "zeros", "anchor_input": "learned"}
    others = {
        name
        for name, _ in make_policy(SKIPS, SETTINGS.model_copy(update=changed)).named_parameters()
    }

    assert names - others == {"first_input", "anchors.embedding.weight", "anchors.embedding.bias"}
    assert others - names == {"anchors.input"}


def test_policy_of_a_space_without_anchor_points_has_no_weights_for_them():
    assert not any("anchor" in name for name, _ in make_policy(CONVOLUTIONAL).named_parameters())


def test_log_probs_of_rollouts_shorter_than_the_longest_end_with_zeros():
    policy = make_policy(CONDITIONAL)

    log_probs = policy.log_probs([1, 1, 1], [[2], [1, 0], [0, 0, 1]]).detach().numpy()

    assert log_probs.shape == (3, 3)
    np.testing.assert_array_equal(log_probs == 0, [[0, 1, 1], [0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("space", ALL_SPACES)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_log_probs_in_a_batch_of_mixed_depths_are_those_alone(space, sharing):
    policy = make_policy(space, SETTINGS.model_copy(update={"sharing": sharing}))
    depths = [3, 1, 2, 1, 4, 2, 3]
    lists = [rollout.choices for rollout in policy.sample(depths, generators(7))]

    together = policy.log_probs(depths, lists).detach()

    assert together.shape == (7, max(len(choices) for choices in lists))
    for row, depth, choices in zip(together, depths, lists, strict=True):
        alone = policy.log_probs([depth], [choices]).detach()[0]
        torch.testing.assert_close(row[: len(choices)], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", ALL_SPACES)
@pytest.mark.parametrize("sharing", SHARINGS)
def test_gradient_of_log_probs_agrees_with_finite_differences(space, sharing):
    policy = make_policy(space, SETTINGS.model_copy(update={"sharing": sharing})).double()
    depths = [2, 1, 3, 2]
    lists = [rollout.choices for rollout in policy.sample(depths, generators(4))]
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    def weighted():
        return (policy.log_probs(depths, lists).sum(dim=1) * weights).sum()

    # By position there are weights for steps that none of these rollouts has.
    gradients = torch.autograd.grad(
        weighted(), tuple(policy.parameters()), materialize_grads=sharing == "position"
    )
    generator = np.random.default_rng(0)
    for (name, parameter), gradient in zip(policy.named_parameters(), gradients, strict=True):
        for element in generator.integers(parameter.numel(), size=3):
            at = np.unravel_index(element, parameter.shape)
            difference = 0.0
            with torch.no_grad():
                for sign in (+1, -1):
                    parameter[at] += sign * 1e-5
                    difference += sign * weighted().item()
                    parameter[at] -= sign * 1e-5
            expected = difference / 2e-5
            assert gradient[at].item() == pytest.approx(expected, rel=1e-5, abs=1e-8), (name, at)


def test_policy_prefers_no_choice_beforehand():
    policy = make_policy(CONVOLUTIONAL, PolicySettings())

    log_probs = policy.log_probs([1], [[0, 1, 2]])[0].detach().exp().tolist()

    assert log_probs == pytest.approx([1 / 2, 1 / 2, 1 / 3], abs=0.05)


# --- Rollouts.


@pytest.mark.parametrize("space", ALL_SPACES)
def test_rollouts_are_complete_lists_of_their_depth(space):
    depths = [1, 2, 3] * 10

    rollouts = make_policy(space).sample(depths, generators(30))

    for depth, rollout in zip(depths, rollouts, strict=True):
        assert len(space.decode(rollout.choices, depth).layers) == depth
        assert len(rollout.log_probs) == len(rollout.choices)


@pytest.mark.parametrize("space", ALL_SPACES)
@pytest.mark.parametrize(
    "changed", [*({"sharing": sharing} for sharing in SHARINGS), {"tanh_constant": 0.5}], ids=str
)
def test_log_probs_of_rollouts_are_those_of_teacher_forcing(space, changed):
    policy = make_policy(space, SETTINGS.model_copy(update=changed))
    depths = [1, 2, 3, 2, 1]

    rollouts = policy.sample(depths, generators(5))

    forced = policy.log_probs(depths, [rollout.choices for rollout in rollouts]).detach()
    for row, rollout in zip(forced, rollouts, strict=True):
        drawn = torch.tensor(rollout.log_probs)
        torch.testing.assert_close(drawn, row[: len(drawn)], atol=1e-6, rtol=0)
        assert rollout.log_prob == pytest.approx(row.sum().item(), abs=1e-5)


@pytest.mark.parametrize(("space", "depth"), SPACES)
def test_rollouts_are_as_frequent_as_they_are_probable(space, depth):
    policy = make_policy(space)
    lists = list(all_lists(space, depth))
    num_rollouts = 4000

    rollouts = policy.sample([depth] * num_rollouts, generators(num_rollouts))

    found = Counter(rollout.choices for rollout in rollouts)
    assert set(found) <= set(lists)
    log_probs = policy.log_probs([depth] * len(lists), lists).detach().double()
    expected = num_rollouts * log_probs.sum(dim=1).exp().numpy()
    # Lists that are met a few times are taken together, so that the statistic is chi-square.
    observed = np.array([found[choices] for choices in lists])
    is_rare = expected < 10
    observed = np.append(observed[~is_rare], observed[is_rare].sum())
    expected = np.append(expected[~is_rare], expected[is_rare].sum())
    statistic = ((observed - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    freedom = len(observed) - 1
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_softmax_is_no_surer_than_the_tanh_of_its_logits_lets_it_be():
    policy = make_policy(CHAIN, SETTINGS.model_copy(update={"tanh_constant": 0.5}))
    with torch.no_grad():
        policy.get_parameter("softmaxes.of_color.bias").copy_(torch.tensor([1e4, -1e4]))
        policy.get_parameter("softmaxes.of_shape.bias").copy_(torch.tensor([1e4, -1e4, 1e4]))
    number, e = 4000, np.e

    rollouts = policy.sample([1] * number, generators(number))

    colors, shapes = np.array([e, 1]) / (e + 1), np.array([e, 1, e]) / (2 * e + 1)
    found = Counter(rollout.choices for rollout in rollouts)
    for color, shape in all_lists(CHAIN, 1):
        expected = number * colors[color] * shapes[shape]
        assert abs(found[color, shape] - expected) < 4.5 * np.sqrt(expected)
    forced = policy.log_probs([1], [(1, 1)])[0].exp().tolist()
    assert forced == pytest.approx([colors[1], shapes[1]])


def test_bit_of_an_anchor_point_is_no_surer_than_the_tanh_of_its_logit_lets_it_be():
    policy = make_policy(ONLY_SKIPS, SETTINGS.model_copy(update={"tanh_constant": 0.5}))
    with torch.no_grad():
        policy.get_parameter("anchors.vector").mul_(1e5)

    found = policy.log_probs([3] * 4, [(0, 0, mask) for mask in range(4)])[:, 2].exp().tolist()

    for probability in (found[1] + found[3], found[2] + found[3]):
        assert min(probability, 1 - probability) == pytest.approx(sigmoid(-0.5), abs=1e-5)


def test_rollout_is_the_same_in_every_batch():
    policy = make_policy(CONDITIONAL)
    depths = [1, 2, 3, 2, 1, 3]

    together = policy.sample(depths, generators(6))
    backwards = policy.sample(depths[::-1], generators(6)[::-1])[::-1]
    alone = [
        policy.sample([depth], [generator])[0]
        for depth, generator in zip(depths, generators(6), strict=True)
    ]

    assert [r.choices for r in backwards] == [r.choices for r in together]
    assert [r.choices for r in alone] == [r.choices for r in together]


def test_rollout_takes_from_torch_no_random_numbers():
    policy = make_policy(CHAIN)
    before = torch.get_rng_state()

    policy.sample([2, 2], generators(2))

    assert torch.equal(torch.get_rng_state(), before)


class ConstantGenerator:
    """Draws the same number each time."""

    def __init__(self, drawn):
        self._drawn = drawn

    def random(self):
        return self._drawn


class ListedGenerator:
    """Draws the numbers of a list, in its order."""

    def __init__(self, drawn):
        self._drawn = list(drawn)

    def random(self, size=None):
        drawn = [self._drawn.pop(0) for _ in range(1 if size is None else size)]
        return drawn[0] if size is None else np.array(drawn)


def test_bit_of_an_anchor_point_is_one_where_the_draw_is_below_its_probability():
    policy = make_policy(ONLY_SKIPS)
    single = [
        policy.log_probs([3], [[0, 0, mask]])[0, 2].double().exp().item() for mask in range(4)
    ]
    first, second = single[1] + single[3], single[2] + single[3]  # of each bit to be one

    def drawn(*numbers):
        return policy.sample([3], [ListedGenerator([0.999999, *numbers])])[0].choices[2]

    assert drawn(first - 1e-4, second - 1e-4) == 0b11
    assert drawn(first + 1e-4, second - 1e-4) == 0b10
    assert drawn(first - 1e-4, second + 1e-4) == 0b01
    assert drawn(first + 1e-4, second + 1e-4) == 0b00


def test_smallest_draw_is_the_first_choice_and_the_largest_the_last():
    space = ChainSpace({"shape": 6})
    largest = ConstantGenerator(np.nextafter(1.0, 0.0))
    sums = []
    for seed in range(20):
        policy = make_policy(space, seed=seed)
        first, last = policy.sample([1, 1], [ConstantGenerator(0.0), largest])
        assert (first.choices, last.choices) == ((0,), (5,))
        sums.append(policy.log_probs([1] * 6, [[i] for i in range(6)]).double().exp().sum().item())
    assert min(sums) < 1 - 1e-12, "no draw was above the sum of the probabilities"


def test_choice_of_probability_0_is_never_drawn():
    policy = make_policy(ChainSpace({"shape": 3}))
    with torch.no_grad():
        policy.get_parameter("softmaxes.of_shape.bias")[[0, 2]] = -1e4

    lowest, highest = (ConstantGenerator(drawn) for drawn in (0.0, np.nextafter(1.0, 0.0)))
    rollouts = policy.sample([1, 1], [lowest, highest])

    assert [rollout.choices for rollout in rollouts] == [(1,), (1,)]
