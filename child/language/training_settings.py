"""How a language model is trained and rewarded, as settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from child.precision import PrecisionName
from child.result import MAX_REWARD
from child.schedule import LearningRateSchedule
from child.training_settings import TrainingSettings


class LanguageTrainingSettings(TrainingSettings):
    """How a language model is trained and rewarded.

    The defaults are those of Zoph & Le 2017, s4.2, and of the "medium" model of Zaremba et al. 2014
    where s4.2 leaves them open: stochastic gradient descent whose rate falls to 0.8 of itself with
    each epoch after the sixth.
    """

    num_epochs: int = Field(
        35, ge=1, le=1_000_000, description="Passes over the text that is trained on; s4.2."
    )
    batch_size: int = Field(20, ge=1, description="Parts of the text that are read side by side.")
    num_steps: int = Field(
        35, ge=1, description="Tokens of each part in a step of the training; gradients end there."
    )
    optimizer: Literal["sgd", "adam"] = Field(
        "sgd", description="Stochastic gradient descent without momentum, or Adam."
    )
    learning_rate: float = Field(1.0, gt=0, description="Size of a step in the first epoch.")
    schedule: LearningRateSchedule = LearningRateSchedule(
        kind="exponential", constant_epochs=6, factor=0.8
    )
    max_gradient_norm: float = Field(5.0, gt=0, description="Longer gradients are shortened to it.")
    weight_decay: float = Field(0.0, ge=0, description="Pulls all weights towards zero (L2).")
    evaluation_batch_size: int = Field(
        20, ge=1, description="Parts of the validation and the test text, each read from its start."
    )
    reward_scale: float = Field(
        80.0,
        gt=0,
        le=MAX_REWARD,
        description="reward = reward_scale / perplexity ** 2; c in s4.2.",
    )
    precision: PrecisionName = Field(
        "float32",
        description="Number format of products. auto: float32 on a CPU, and on a GPU bfloat16 "
        "where it computes in that, else float16.",
    )
