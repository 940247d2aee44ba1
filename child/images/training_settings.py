"""How a child that classifies images is trained and rewarded, as settings."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from child.data.images import ImageShape
from child.images.augmentation import AugmentationSettings
from child.schedule import LearningRateSchedule
from child.training_settings import TrainingSettings


class ImageTrainingSettings(TrainingSettings):
    """How a child is trained and rewarded. The defaults are those of Zoph & Le 2017, s4.1."""

    num_epochs: int = Field(
        50, ge=1, le=1_000_000, description="Passes over the images that are trained on; s4.1."
    )
    batch_size: int = Field(
        64, ge=2, description="Images in a step. Open in the paper; 64 as in DenseNet's code."
    )
    learning_rate: float = Field(0.1, gt=0, description="Size of a step in the first epoch; s4.1.")
    schedule: LearningRateSchedule = LearningRateSchedule()
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="How much of the step before goes into the next; 0: nothing; s4.1.",
    )
    nesterov: bool = Field(True, description="Whether momentum is Nesterov's; s4.1.")
    weight_decay: float = Field(
        1e-4, ge=0, description="Pulls all weights towards zero (L2); s4.1."
    )
    augmentation: AugmentationSettings = AugmentationSettings()
    reward_exponent: float = Field(
        3.0, gt=0, description="reward = accuracy ** reward_exponent; s4.1."
    )
    is_channels_last: bool = Field(
        True, description="On a GPU: images lie in memory as its tensor cores take them."
    )

    def check_images(self, shape: ImageShape, num_train: int | None) -> None:
        """Check that images can be trained on so.

        Args:
            num_train: how many there are; None where that is not known yet.

        Raises:
            ValueError: a batch has more, or a crop is of more, than there is.
        """
        side = min(shape.height, shape.width)
        if self.augmentation.crop != "none" and self.augmentation.margin > side:
            raise ValueError(
                f"training.augmentation.margin={self.augmentation.margin}: must be at most {side}, "
                f"the shorter side of the images, {shape.height}x{shape.width} pixels; or "
                "training.augmentation.crop: none"
            )
        if num_train is not None and self.batch_size > num_train:
            raise ValueError(
                f"training.batch_size={self.batch_size}: must be at most {num_train}, the images "
                "that are trained on"
            )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true and momentum=0: Nesterov's rule needs momentum > 0")
        return self
