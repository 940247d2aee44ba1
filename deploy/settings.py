"""All settings of a search, composed of those of its parts, and how they are read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from child.convolutional.network_settings import NetworkSettings
from child.convolutional.space import ConvolutionalSpace
from child.convolutional.space_settings import ConvolutionalSettings
from child.data.settings import DataSettings
from child.training import TrainingSettings
from controller.policy import PolicySettings
from controller.reinforce import Reinforce
from controller.schedule import ScheduleSettings
from deploy.ready import find_settings, ready_settings
from ps.client import ClientSettings
from ps.optimizer import AdamSettings, OptimizerSettings
from ps.plan import UpdateSettings
from ps.server import ServerSettings
from workers.child import ChildrenSettings

MAX_DEPTH = 1000


class SettingsError(ValueError):
    """The settings cannot be used; the message names every mistake."""


class SearchSettings(BaseModel):
    """What a search is. A key that is left out takes the value of Zoph & Le 2017, s3.2 and s4.1."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    seed: int = Field(0, ge=0, lt=2**63, description="Of everything that is drawn at random.")
    strategy: Literal["reinforce", "random"] = "reinforce"
    num_trials: int = Field(12_800, ge=1, le=10**9)
    num_replicas: int = Field(100, ge=1, le=10_000, description="K")
    num_shards: int = Field(20, ge=1, le=1000, description="S")
    baseline_decay: float = Field(0.95, ge=0, lt=1, description="Open in the paper.")
    data: DataSettings
    space: ConvolutionalSettings = ConvolutionalSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    children: ChildrenSettings = ChildrenSettings()
    policy: PolicySettings = PolicySettings()
    optimizer: OptimizerSettings = AdamSettings()
    updates: UpdateSettings = UpdateSettings()
    shards: ServerSettings = ServerSettings()
    client: ClientSettings = ClientSettings()

    @model_validator(mode="after")
    def _every_shard_owns_parameters(self) -> Self:
        self.untrained()
        return self

    @model_validator(mode="after")
    def _every_shard_has_an_address(self) -> Self:
        given = len(self.shards.addresses)
        if given not in (0, self.num_shards):
            raise ValueError(
                f"shards.addresses: {given} addresses: must be none, or num_shards="
                f"{self.num_shards}, one for each"
            )
        return self

    @model_validator(mode="after")
    def _deepest_network_can_be_written_down(self) -> Self:
        deepest = self.schedule.depth(self.num_trials)
        if deepest > MAX_DEPTH:
            raise ValueError(
                f"schedule: the network of the last trial, num_trials={self.num_trials}, has "
                f"{deepest} layers: must be at most {MAX_DEPTH}"
            )
        return self

    @model_validator(mode="after")
    def _something_is_decided(self) -> Self:
        space, depth = ConvolutionalSpace(self.space), self.schedule.depth(self.num_trials)
        choices: list[int] = []
        while decision := space.next_decision(choices, depth):
            if decision.num_choices > 1:
                return self
            choices.append(0)
        raise ValueError(
            "space: every list has one value, so there is nothing to decide; give the policy a "
            "choice, such as filter_heights: [1, 3]"
        )

    def untrained(self) -> Reinforce:
        """Give the learner before its first update, also where the strategy is not to learn.

        Raises:
            ValueError: it has fewer parameters than there are shards.
        """
        space = ConvolutionalSpace(self.space)
        return Reinforce.untrained(space, self.policy, self.seed, self.num_shards)

    def to_yaml(self) -> str:
        """Give the settings, complete, as `load_settings` reads them."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """YAML as the library's safe loader reads it, with two of its traps closed.

    1e-3 is a number, as in YAML 1.2, and no string. A key that stands twice is a mistake.
    """


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} stands there twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load_settings(path: Path | str | None = None, overrides: Sequence[str] = ()) -> SearchSettings:
    """Read the settings of a search.

    Args:
        path: a YAML file, or the name of one that comes with nasrl, such as mnist (see
            `deploy.ready`); None takes the default, digits.
        overrides: "key=value" with the key in dots (policy.hidden_size=64), the value in YAML.

    Raises:
        SettingsError: the file cannot be read, or a key or value is wrong; names all mistakes.
    """
    source = find_settings(path)
    try:
        data = yaml.load(source.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a safe one)
    except FileNotFoundError as error:
        raise SettingsError(
            f"settings file {source} does not exist; these come with nasrl: "
            f"{', '.join(sorted(ready_settings()))}"
        ) from error
    except IsADirectoryError as error:
        raise SettingsError(
            f"settings file {source} is a directory: must be a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {source} is not a text file: {error}") from error
    except OSError as error:
        raise SettingsError(f"settings file {source} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {source} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"settings file {source}: must be a mapping of settings to values")
    for override in overrides:
        _apply(data, override)
    try:
        return SearchSettings.model_validate(data)
    except ValidationError as error:
        mistakes = [_describe(mistake) for mistake in _without_consequences(error.errors())]
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        raise SettingsError(f"{count} in the settings ({source}):{lines}") from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"--set {override}: must be key=value, such as policy.hidden_size=64")
    *sections, name = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise SettingsError(f"--set {override}: {section!r} is a value and has no keys")
    try:
        data[name] = yaml.load(text, _Loader)  # noqa: S506 (a safe one)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {override}: the value is not YAML: {error}") from error


def _without_consequences(mistakes: Sequence[Any]) -> list[Any]:
    """Leave out that a list is too short because what stands in it is wrong."""
    return [
        mistake
        for mistake in mistakes
        if mistake["type"] != "too_short" or len(mistake["input"]) < mistake["ctx"]["min_length"]
    ]


def _describe(mistake: Any) -> str:
    """Turn one mistake found by pydantic into a line: name, value, what must hold, what to do."""
    location = _without_tags(mistake["loc"])
    key = ".".join(str(part) for part in location)
    given, kind = mistake["input"], mistake["type"]
    if kind == "extra_forbidden":
        known = _known_keys(mistake["loc"][:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = ".".join(str(part) for part in (*location[:-1], *close))
        hint = f"; did you mean {meant!r}?" if close else ";"
        return f"unknown setting {key!r}{hint} known: {', '.join(known)}"
    if kind == "missing":
        return f"{key}: must be given; `nasrl search --example` prints every setting"
    if kind == "union_tag_invalid":
        tags = mistake["ctx"]["expected_tags"].replace("'", "")
        return f"{key}.name={given['name']!r}: must be one of {tags}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{key}={given!r}: must hold settings: {', '.join(_known_keys(location))}"
    what = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    what = what.replace("a valid tuple", "a list")
    if kind == "too_short":
        what = "must have at least one value"
    if kind == "float_type" and str(given).lower() in ("nan", "inf", "-inf"):
        what = "must be a finite number"
    if given is None:
        return f"{key} has no value: {what}"
    # A mistake between several keys names them and their values itself.
    if _model_at(mistake["loc"]):
        return f"{key}: {what}" if key else what
    return f"{key}={given!r}: {what}"


def _models_of(annotation: Any) -> dict[str | None, Any]:
    """Give the kinds of settings that a key may hold, by the name that tells them apart."""
    members = [m for m in (annotation, *get_args(annotation)) if hasattr(m, "model_fields")]
    if len(members) == 1:
        return {None: members[0]}
    return {name: m for m in members for name in get_args(m.model_fields["name"].annotation)}


def _model_at(location: Sequence[Any]) -> Any:
    """Give the settings at a place where pydantic found a mistake; None where there is a value."""
    model: Any = SearchSettings
    kinds: dict[str | None, Any] = {}
    for part in location:
        if part in kinds:  # one of several kinds, which has a place of its own
            model, kinds = kinds[part], {}
            continue
        model = model or next(iter(kinds.values()), None)
        field = getattr(model, "model_fields", {}).get(part)
        kinds = _models_of(field.annotation) if field is not None else {}
        model = kinds.pop(None, None)
    return model or next(iter(kinds.values()), None)


def _without_tags(location: Sequence[Any]) -> tuple[Any, ...]:
    """Give the place as a person writes it, without the kind that pydantic puts in."""
    return tuple(
        part
        for index, part in enumerate(location)
        if not index or part not in _kinds_at(location[:index])
    )


def _kinds_at(location: Sequence[Any]) -> Sequence[str]:
    field = SearchSettings.model_fields.get(location[0]) if len(location) == 1 else None
    return [] if field is None else [name for name in _models_of(field.annotation) if name]


def _known_keys(sections: Sequence[Any]) -> list[str]:
    return list(_model_at(sections).model_fields)
