"""A search over recurrent cells, by the language models that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from child.data.text import TextTrainingData
from child.data.tokens import Unit
from child.language.layers import Lstm
from child.language.model import LanguageModel
from child.language.model_settings import LanguageModelSettings
from child.language.passes import TextPasses
from child.language.size import ModelSize
from child.language.training_settings import LanguageTrainingSettings
from child.measures import NOTHING, Measures
from child.metric import BITS_PER_CHARACTER, PERPLEXITY, Metric
from child.network_trainer import NetworkTrainer
from child.recurrent.architecture import CellArchitecture
from child.recurrent.equations import equations
from child.recurrent.space import RecurrentSpace
from child.recurrent.space_settings import RecurrentSettings
from child.result import Infeasible


@dataclass(frozen=True)
class LanguageTask:
    """Language models, each of layers of one cell; see `child.task.NetworkTask`."""

    space_settings: RecurrentSettings
    model: LanguageModelSettings
    training: LanguageTrainingSettings
    unit: Unit
    measures: Measures = NOTHING
    architectures = (CellArchitecture, Lstm)

    @property
    def space(self) -> RecurrentSpace:
        return RecurrentSpace(self.space_settings)

    @property
    def metric(self) -> Metric:
        return PERPLEXITY if self.unit == "words" else BITS_PER_CHARACTER

    @property
    def is_deterministic(self) -> bool:
        return self.training.is_deterministic

    @property
    def time_limit_s(self) -> float | None:
        return self.training.time_limit_s

    def trainer(self, data: TextTrainingData, device: torch.device) -> NetworkTrainer:
        return NetworkTrainer(self, data, device)

    def size(
        self, architecture: CellArchitecture | Lstm, data: TextTrainingData
    ) -> ModelSize | None:
        """Give the sizes of a model; None where even the smallest would be too large."""
        return ModelSize.of(self.model, data.num_tokens, architecture.base)

    def build(self, architecture: CellArchitecture | Lstm, data: TextTrainingData) -> LanguageModel:
        size = self.size(architecture, data)
        if size is None:
            raise Infeasible(
                f"num_parameters={self.model.num_parameters}: {data.num_tokens} different "
                f"{self.unit} make more than that with one unit in each layer"
            )
        limit = self.training.max_parameters
        if limit is not None and size.num_parameters > limit:
            raise Infeasible(
                f"max_parameters={limit}: the network has {size.num_parameters}",
                size.num_parameters,
            )
        return LanguageModel(architecture, size, self.model)

    def architecture(self, described: Mapping[str, Any]) -> CellArchitecture:
        return CellArchitecture.from_json(described)

    def details(self, architecture: CellArchitecture | Lstm) -> str:
        return "" if isinstance(architecture, Lstm) else equations(architecture)

    def legend(self, printed: str) -> str:
        return (
            "nodes level by level, each with its activation and its combination; which one's value "
            "is the memory c'; what c is put to, and where"
        )

    def learning_rate(self, architecture: CellArchitecture | Lstm) -> None:
        return None

    def passes(self, data: TextTrainingData, device: torch.device) -> TextPasses:
        return TextPasses(self.training, data, self.unit, device)
