"""All settings of a search, composed of those of its parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Protocol, Self

import sqlalchemy as sql
import yaml
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
from child.objective import NETWORK_COSTS, Objective
from child.recurrent.space_settings import RecurrentSettings
from child.task import NetworkTask, Task
from child.training_settings import TrainingSettings
from controller.database_url import database_url
from controller.errors import UnusableDatabase
from controller.evolution import EvolutionSettings
from controller.learning import LearningSettings
from controller.policy import PolicySettings
from controller.reinforce import Reinforce
from controller.rounds import RoundSettings
from controller.schedule import ScheduleSettings
from controller.strategy import StrategyName
from deploy.count import counted
from ps.address import MAX_PORT
from ps.client import ClientSettings
from ps.optimizer import AdamSettings, OptimizerSettings
from ps.plan import UpdateSettings
from ps.server import ServerSettings
from workers.children_settings import ChildrenSettings
from workers.metrics_settings import MetricsSettings

MAX_DEPTH = 1000


class SplitData(Protocol):
    """A data set that is loaded: what a search may see, and what the winner is tested on, once."""

    @property
    def search(self) -> Any:
        """All that children may see; its ``validation`` has a length."""
        ...

    @property
    def test(self) -> Any:
        """What is left; it has a length."""
        ...


class LoadableData(Protocol):
    """The settings of a data set."""

    def load(self) -> SplitData: ...


class SearchSettings(BaseModel, ABC):
    """What a search is, whatever it is over; a kind of search adds its data and its task.

    A key that is left out takes the value of Zoph & Le 2017, s3.2 and s4.1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    seed: int = Field(
        0, ge=0, lt=2**63, description="Everything that is drawn at random follows from it."
    )
    strategy: StrategyName = Field(
        "reinforce",
        description="reinforce: a policy learns from the rewards, as in the paper. ppo: it learns "
        "from each several times; see learning. evolution: the best of recent networks are "
        "mutated, and nothing is learned; see evolution. random: every choice uniform, to "
        "compare. The search is the same in all else.",
    )
    num_trials: int = Field(
        12_800,
        ge=1,
        le=10**9,
        description="Networks to train, over all replicas: the budget. Zoph & Le 2017, s4.1.",
    )
    num_replicas: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Controller replicas: each samples networks, has them trained, and pushes what "
        "it learned. K in Zoph & Le 2017, s3.2; 100 in s4.1.",
    )
    num_shards: int = Field(
        20,
        ge=1,
        le=1000,
        description="Processes that hold the policy's weights, each one slice of them. S in Zoph & "
        "Le 2017, s3.2; 20 in s4.1.",
    )
    time_limit_s: float | None = Field(
        None,
        gt=0,
        description="After so many seconds, of all its lives together, the search ends as if "
        "finished; null: never.",
    )
    target_reward: float | None = Field(
        None, description="The search ends as if finished when a trial has it; null: never."
    )
    ledger_url: str | None = Field(
        None,
        description="The ledger's database, such as postgresql+psycopg://host/name; null: SQLite, "
        "in the run directory.",
    )
    baseline_decay: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="How slowly the moving average of earlier rewards moves that a reward is "
        "compared with. Open in the paper.",
    )
    baseline_start: float = Field(
        0.0,
        description="What the first reward is compared with, before there is an average. Open in "
        "the paper.",
    )
    objective: Objective = Objective()
    children: ChildrenSettings = ChildrenSettings()
    rounds: RoundSettings = RoundSettings()
    policy: PolicySettings = PolicySettings()
    learning: LearningSettings = LearningSettings()
    evolution: EvolutionSettings = EvolutionSettings()
    optimizer: OptimizerSettings = AdamSettings()
    updates: UpdateSettings = UpdateSettings()
    shards: ServerSettings = ServerSettings()
    client: ClientSettings = ClientSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    @abstractmethod
    def task(self) -> Task:
        """What is searched for, and how it is trained."""

    @abstractmethod
    def load_data(self) -> SplitData | None:
        """Load what children are trained on; None where their trainer sees to that.

        Raises:
            DataCorrupt, DataMissing, DownloadFailed: they cannot be had.
        """

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the search is over, in two words."""

    @property
    def code(self) -> list[Path]:
        """The files and packages of the user's that processes of the search need."""
        return []

    @property
    @abstractmethod
    def depths(self) -> ScheduleSettings:
        """The depth, or size, of what is sampled, trial by trial."""

    @property
    def deepest(self) -> int:
        """The greatest of these depths."""
        return self.depths.depth(self.num_trials)

    @property
    def has_secret(self) -> bool:
        """Whether the settings hold a password."""
        return self.ledger_url is not None and sql.make_url(self.ledger_url).password is not None

    @property
    def shown(self) -> dict[str, Any]:
        """The settings as JSON has them, as they may be shown: without a password."""
        return self.model_dump(mode="json") | {"ledger_url": self.shown_ledger_url}

    @property
    def shown_ledger_url(self) -> str | None:
        """The ledger's URL as it may be shown: without its password."""
        if self.ledger_url is None:
            return None
        return sql.make_url(self.ledger_url).render_as_string(hide_password=True)

    # Not of the field: its value, which may hold a password, would be told with the mistake.
    @model_validator(mode="after")
    def _ledger_can_be_at_its_url(self) -> Self:
        if self.ledger_url is None:
            return self
        try:
            database_url(self.ledger_url)
        except UnusableDatabase as error:
            # The driver is needed by the search alone: a shard on another machine has none.
            if not isinstance(error.__cause__, ImportError):
                raise ValueError(f"ledger_url: {error}") from None
        return self

    @model_validator(mode="after")
    def _deepest_network_can_be_written_down(self) -> Self:
        # First of all: a policy of weights for every step of such a list would fill the memory.
        if self.deepest > MAX_DEPTH:
            raise ValueError(
                f"schedule: the network of the last trial, num_trials={self.num_trials}, has "
                f"{self.deepest} layers: must be at most {MAX_DEPTH}"
            )
        return self

    @model_validator(mode="after")
    def _evolution_comes_to_breed(self) -> Self:
        size, at_once = (
            self.evolution.population_size,
            self.num_replicas * self.children.per_replica,
        )
        if self.strategy == "evolution" and size + at_once >= self.num_trials:
            raise ValueError(
                f"evolution.population_size={size}: with num_replicas={self.num_replicas} * "
                f"children.per_replica={self.children.per_replica} that train meanwhile it must be "
                f"below num_trials={self.num_trials}; until that population is recorded networks "
                "are drawn at random, and this search would be over; set a smaller population_size "
                "(and tournament_size), fewer children at a time, or more trials"
            )
        return self

    @model_validator(mode="after")
    def _every_shard_owns_parameters(self) -> Self:
        self.untrained()
        return self

    @model_validator(mode="after")
    def _every_shard_has_an_address(self) -> Self:
        given = len(self.shards.addresses)
        if given not in (0, self.num_shards):
            raise ValueError(
                f"shards.addresses: {counted(given, 'address', 'addresses')}: must be none, or "
                f"num_shards={self.num_shards}, one for each"
            )
        return self

    @model_validator(mode="after")
    def _every_process_has_ports_of_its_own(self) -> Self:
        taken: list[tuple[str, int, int]] = []
        for name, base, who in (
            ("shards.port_base", self.shards.port_base, "shard"),
            ("shards.metrics_port_base", self.shards.metrics_port_base, "shard"),
            ("metrics.replica_port_base", self.metrics.replica_port_base, "replica"),
            ("metrics.search_port", self.metrics.search_port, ""),
        ):
            if not base:
                continue
            number, count = (1, "") if not who else (getattr(self, f"num_{who}s"), f"num_{who}s")
            highest = MAX_PORT + 1 - number
            if base > highest:
                raise ValueError(
                    f"{name}={base}: must be at most {highest}, since {who} i of "
                    f"{count}={number} has port {name.partition('.')[2]} + i"
                )
            for other, first, size in taken:
                if base < first + size and first < base + number:
                    raise ValueError(
                        f"{name}={base}: must be below {first - number + 1} or above "
                        f"{first + size - 1}, since {other}={first}; processes of one host would "
                        "want the same port"
                    )
            taken.append((name, base, number))
        return self

    @model_validator(mode="after")
    def _something_is_decided(self) -> Self:
        space, depth = self.task.space, self.deepest
        choices: list[int] = []
        while decision := space.next_decision(choices, depth):
            if decision.num_choices > 1:
                return self
            choices.append(0)
        raise ValueError(
            "space: every list has one value, so there is nothing to decide; give the policy a "
            "choice, such as filter_heights: [1, 3], or activations: [tanh, relu]"
        )

    def untrained(self) -> Reinforce:
        """Give the learner before its first update, also where the strategy is not to learn.

        Raises:
            ValueError: it has fewer parameters than there are shards.
        """
        return Reinforce.untrained(
            self.task.space, self.policy, self.seed, self.num_shards, self.deepest
        )

    def to_yaml(self) -> str:
        """Give the settings, complete, as `load_settings` reads them."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class NetworkSearchSettings(SearchSettings, ABC):
    """A search over networks that we build and train: they can be tested, kept, and exported."""

    data: Any
    training: TrainingSettings

    @property
    @abstractmethod
    def task(self) -> NetworkTask:
        """What is searched for, and how it is trained."""

    @property
    def subject(self) -> str:
        return f"data {self.data.name}"

    def load_data(self) -> SplitData:
        data: LoadableData = self.data
        return data.load()

    @model_validator(mode="after")
    def _networks_have_the_cost(self) -> Self:
        cost = self.objective.cost
        if cost is not None and cost not in NETWORK_COSTS:
            raise ValueError(
                f"objective.cost={cost}: must be one that networks have: {', '.join(NETWORK_COSTS)}"
            )
        return self


class ImageSearchSettings(NetworkSearchSettings):
    """A search over convolutional networks that classify images."""

    data: DataSettings
    space: ConvolutionalSettings = ConvolutionalSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    network: NetworkSettings = NetworkSettings()
    training: ImageTrainingSettings = ImageTrainingSettings()

    @property
    def task(self) -> ImageTask:
        return ImageTask(self.space, self.network, self.training, self.objective.measured)

    @property
    def depths(self) -> ScheduleSettings:
        return self.schedule

    @model_validator(mode="after")
    def _images_can_be_trained_on(self) -> Self:
        self.training.check_images(self.data.shape, self.data.num_train_images)
        return self

    @model_validator(mode="after")
    def _deepest_network_is_pooled_everywhere(self) -> Self:
        deepest = self.deepest * self.space.block_size
        if any(layer >= deepest for layer in self.space.pooled_after):
            raise ValueError(
                f"space.pooled_after={list(self.space.pooled_after)}: must be below {deepest}, the "
                f"layers of the deepest network as it is built, with num_trials={self.num_trials}; "
                "what comes out of the last layer is not pooled"
            )
        return self


class LanguageSearchSettings(NetworkSearchSettings):
    """A search over recurrent cells, by the language models that are made of them.

    A key that is left out takes the value of Zoph & Le 2017, s4.2.
    """

    num_trials: int = Field(
        15_000,
        ge=1,
        le=10**9,
        description="Cells to train a model of, over all replicas: the budget. Zoph & Le 2017, "
        "s4.2.",
    )
    num_replicas: int = Field(
        400,
        ge=1,
        le=10_000,
        description="Controller replicas: each samples cells, has models of them trained, and "
        "pushes what it learned. K in Zoph & Le 2017, s3.2; 400 in s4.2.",
    )
    data: TextSettings
    space: RecurrentSettings = RecurrentSettings()
    model: LanguageModelSettings = LanguageModelSettings()
    training: LanguageTrainingSettings = LanguageTrainingSettings()
    children: ChildrenSettings = ChildrenSettings(per_replica=1, num_gpus=0.0)
    optimizer: OptimizerSettings = AdamSettings(learning_rate=0.0005)
    updates: UpdateSettings = UpdateSettings(accumulate=10)

    @property
    def task(self) -> LanguageTask:
        measures = self.objective.measured
        return LanguageTask(self.space, self.model, self.training, self.data.unit, measures)

    @property
    def depths(self) -> ScheduleSettings:
        return ScheduleSettings(num_layers=self.space.base, increase=0)
