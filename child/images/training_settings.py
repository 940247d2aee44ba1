"""How a child that classifies images is trained and rewarded, as settings."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from child.images.augmentation import AugmentationSettings
from child.schedule import LearningRateSchedule
from child.training_settings import TrainingSettings


class ImageTrainingSettings(TrainingSettings):
    """How a child is trained and rewarded. The defaults are those of Zoph & Le 2017, s4.1."""

    num_epochs: int = Field(50, ge=1, le=1_000_000)
    batch_size: int = Field(64, ge=2, description="Open in the paper; 64 as in DenseNet's code.")
    learning_rate: float = Field(0.1, gt=0, description="Of the first epoch.")
    schedule: LearningRateSchedule = LearningRateSchedule()
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(1e-4, ge=0)
    augmentation: AugmentationSettings = AugmentationSettings()
    reward_exponent: float = Field(3.0, gt=0, description="reward = accuracy ** exponent")
    is_channels_last: bool = Field(
        True, description="On a GPU: images lie in memory as its tensor cores take them."
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true and momentum=0: Nesterov's rule needs momentum > 0")
        return self
