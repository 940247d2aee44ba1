"""All settings there are, as their models describe them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from deploy.custom_settings import CustomSearchSettings
from deploy.retrain.settings import RetrainSettings
from deploy.settings import ImageSearchSettings, LanguageSearchSettings
from deploy.train_settings import ImageTrainSettings, LanguageTrainSettings


class Kind(Enum):
    """What settings are for; the value says it in words."""

    IMAGE_SEARCH = "image searches"
    LANGUAGE_SEARCH = "language searches"
    CUSTOM_SEARCH = "searches over a space of your own"
    IMAGE_TRAINING = "nasrl train, images"
    LANGUAGE_TRAINING = "nasrl train, language"
    RETRAINING = "nasrl retrain"


_MODELS: dict[Kind, type[BaseModel]] = {
    Kind.IMAGE_SEARCH: ImageSearchSettings,
    Kind.LANGUAGE_SEARCH: LanguageSearchSettings,
    Kind.CUSTOM_SEARCH: CustomSearchSettings,
    Kind.IMAGE_TRAINING: ImageTrainSettings,
    Kind.LANGUAGE_TRAINING: LanguageTrainSettings,
    Kind.RETRAINING: RetrainSettings,
}

_PLAIN = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "settings and their values",
}
_ENDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "maximum": "up to",
}


@dataclass(frozen=True)
class Setting:
    """One value: its name, in dots, what it may be, its default, and what it is, in words.

    default is None where it must be given.
    """

    name: str
    values: str
    default: str | None
    text: str


@dataclass(frozen=True)
class Group:
    """The settings of one model, in a section of a file.

    name: of the section, in dots; "" is the file itself. tags: where several models may stand in
    the section, the names by which its `name` asks for this one. text: what the group is about.
    """

    name: str
    tags: tuple[str, ...]
    text: str
    settings: tuple[Setting, ...]

    @property
    def heading(self) -> str:
        """The name, and the tags: such as optimizer, name: adam."""
        return f"{self.name}, name: {', '.join(self.tags)}" if self.tags else self.name


@cache
def groups(kind: Kind) -> tuple[Group, ...]:
    """Give all settings of a kind, group by group, in the order of a file."""
    return tuple(_groups(_MODELS[kind], None))


def _groups(
    model: type[BaseModel], defaults: BaseModel | None, name: str = "", tags: Sequence[str] = ()
) -> Iterator[Group]:
    """Give a model's own settings, then those of the sections in it.

    Args:
        defaults: what stands there if nothing is given; it may be of another model.
    """
    settings, below = [], []
    prefix = f"{name}." if name else ""
    schemas = model.model_json_schema()["properties"]
    for key, field in model.model_fields.items():
        default = getattr(defaults, key) if isinstance(defaults, model) else field.default
        if found := _models_in(field.annotation):
            below.append((f"{prefix}{key}", found, default))
        elif not (tags and key == "name"):
            given = None if default is PydanticUndefined else _shown(default)
            text = field.description or ""
            settings.append(Setting(f"{prefix}{key}", _values(schemas[key]), given, text))
    about = " ".join((model.__doc__ or "").partition("\n\n")[0].split())
    if name or settings:
        yield Group(name, tuple(tags), about, tuple(settings))
    for section, models, default in below:
        for member in models:
            its_tags = _tags(member) if len(models) > 1 else ()
            yield from _groups(member, default, section, its_tags)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Give the models that may stand at a place; none where there are values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for member in get_args(annotation) for model in _models_in(member)]


def _tags(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["name"].annotation)


def _shown(value: Any) -> str:
    """Give a value as a file has it.

    >>> _shown((1, 3)), _shown(None), _shown(1e-08), _shown(12_800), _shown("adam")
    ('[1, 3]', 'null', '1e-08', '12800', 'adam')
    """
    if isinstance(value, str):
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _values(schema: Mapping[str, Any]) -> str:
    """Say in words what a value of a JSON schema may be.

    >>> _values({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1000}, {"type": "null"}]})
    'whole number, 1 to 1,000; or null'
    >>> _values({"type": "array", "items": {"enum": ["add", "max"]}, "minItems": 1})
    'list of one or more, each add or max'
    """
    if "anyOf" in schema:
        [value] = [each for each in schema["anyOf"] if each != {"type": "null"}]
        return f"{_values(value)}; or null"
    if "enum" in schema:
        *others, last = map(str, schema["enum"])
        return f"{', '.join(others)} or {last}"
    if schema["type"] == "array":
        size = "list of one or more" if schema.get("minItems") else "list"
        item = _values(schema["items"])
        is_number = schema["items"].get("type") in ("integer", "number")
        return f"{size}, each {f'a {item}' if is_number else item}"
    limits = _limits(schema)
    return f"{_PLAIN[schema['type']]}, {limits}" if limits else _PLAIN[schema["type"]]


def _limits(schema: Mapping[str, Any]) -> str:
    """Say between which numbers one must be.

    >>> _limits({"minimum": 0, "exclusiveMaximum": 1}), _limits({"exclusiveMinimum": 0})
    ('from 0, below 1', 'above 0')
    """
    ends = {end: _number(schema[end]) for end in _ENDS if end in schema}
    if set(ends) == {"minimum", "maximum"}:
        return f"{ends['minimum']} to {ends['maximum']}"
    words = _ENDS if len(ends) > 1 else _ENDS | {"minimum": "at least", "maximum": "at most"}
    return ", ".join(f"{words[end]} {number}" for end, number in ends.items())


def _number(value: float) -> str:
    if value == 2**63:
        return "2^63"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
