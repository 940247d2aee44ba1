"""What is trained after a search where nobody says otherwise."""

from __future__ import annotations

import math
from typing import Any

from deploy.retrain.settings import FinalSettings, RetrainSettings
from deploy.settings import ImageSearchSettings, LanguageSearchSettings, NetworkSearchSettings

Tree = dict[str, Any]


def default_retrain_settings(search: NetworkSearchSettings) -> RetrainSettings:
    """Give a small grid around the values of a search, and a final training that is long enough.

    Source: Zoph & Le 2017, s4.1 and s4.2, which name what varies, not by how much.
    """
    num_epochs = search.training.num_epochs
    if isinstance(search, ImageSearchSettings):
        # Of 50 epochs, the paper's, the 300 of DenseNet's code.
        return RetrainSettings(
            grid=_grid_of_images(search), final=FinalSettings(num_epochs=6 * num_epochs)
        )
    assert isinstance(search, LanguageSearchSettings), "there are no others"
    final = FinalSettings(
        num_epochs=num_epochs, max_epochs=10 * num_epochs, variants=_sizes(search)
    )
    return RetrainSettings(grid=_grid_of_language(search), final=final)


def _grid_of_images(search: ImageSearchSettings) -> Tree:
    training = search.training
    decay, schedule = training.weight_decay, training.schedule
    axes: Tree = {
        "learning_rate": _times(training.learning_rate, 0.5, 1, 2),
        "weight_decay": _times(decay, 1, 5) if decay else [0.0, 1e-4],
    }
    if schedule.kind == "step" and schedule.milestones:
        earlier = list(schedule.milestones)
        later = [round(1 - 0.6 * (1 - milestone), 3) for milestone in earlier]
        axes["schedule"] = {"milestones": [earlier, later]}
    if schedule.kind == "constant":
        # In the few epochs of a quick search it need not fall; to its end it should.
        axes["schedule"] = {"kind": ["constant", "cosine"]}
    return {
        "training": axes,
        "network": {"norm_epsilon": _times(search.network.norm_epsilon, 1, 100, at_most=1.0)},
    }


def _grid_of_language(search: LanguageSearchSettings) -> Tree:
    training, model = search.training, search.model
    axes: Tree = {"learning_rate": _times(training.learning_rate, 0.5, 1, 2)}
    if training.schedule.kind == "exponential":
        constant = training.schedule.constant_epochs
        axes["schedule"] = {"constant_epochs": [constant, 2 * constant or 1]}
    rates = {
        name: getattr(model.dropout, name) for name in ("embedding", "input", "recurrent", "output")
    }
    others = (
        {name: round(0.5 * rate, 4) for name, rate in rates.items()}
        if any(rates.values())
        else dict.fromkeys(rates, 0.2)
    )
    return {
        "training": axes,
        "model": {"init_range": _times(model.init_range, 1, 2), "dropout": [rates, others]},
    }


def _sizes(search: LanguageSearchSettings) -> tuple[Tree, ...]:
    """Give three sizes, as far apart as those of Table 2: 25, 32 and 54 million weights."""
    model = search.model
    if model.num_parameters is not None:
        sizes = [round(factor * model.num_parameters) for factor in (1, 1.28, 2.16)]
        return tuple({"model": {"num_parameters": size}} for size in sizes)
    assert model.hidden_size is not None, "a model has one of the two"
    sizes = [round(factor * model.hidden_size) for factor in (1, 1.13, 1.47)]
    return tuple({"model": {"hidden_size": size}} for size in sizes)


def _times(value: float, *factors: float, at_most: float = math.inf) -> list[float]:
    products = (float(f"{min(value * factor, at_most):.6g}") for factor in factors)
    return list(dict.fromkeys(products))
