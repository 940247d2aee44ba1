"""The settings of the training of one network that is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.settings import DataSettings
from child.data.text_settings import TextSettings
from child.images.task import ImageTask
from child.images.training_settings import ImageTrainingSettings
from child.language.model_settings import LanguageModelSettings
from child.language.task import LanguageTask
from child.language.training_settings import LanguageTrainingSettings
from child.recurrent.space_settings import RecurrentSettings
from child.task import NetworkTask


class TrainSettings(BaseModel, ABC):
    """What is trained on what, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    seed: int = Field(
        0, ge=0, lt=2**63, description="Everything that is drawn at random follows from it."
    )
    architecture: str = Field(
        description="What is trained: figure-7, nas-cell, lstm, a JSON file, a run directory (its "
        "best trial), or RUN:TRIAL."
    )
    data: Any

    @property
    @abstractmethod
    def task(self) -> NetworkTask:
        """What kind of network it is, and how it is trained."""


class ImageTrainSettings(TrainSettings):
    """The training of a convolutional network."""

    data: DataSettings
    network: NetworkSettings = NetworkSettings()
    training: ImageTrainingSettings = ImageTrainingSettings()

    @property
    def task(self) -> ImageTask:
        return ImageTask(ConvolutionalSettings(), self.network, self.training)

    @model_validator(mode="after")
    def _images_can_be_trained_on(self) -> Self:
        self.training.check_images(self.data.shape, self.data.num_train_images)
        return self


class LanguageTrainSettings(TrainSettings):
    """The training of a language model."""

    data: TextSettings
    model: LanguageModelSettings = LanguageModelSettings()
    training: LanguageTrainingSettings = LanguageTrainingSettings()

    @property
    def task(self) -> LanguageTask:
        return LanguageTask(RecurrentSettings(), self.model, self.training, self.data.unit)


# The name of the data says which one it is.
TRAIN_KINDS: tuple[type[TrainSettings], ...] = (ImageTrainSettings, LanguageTrainSettings)
