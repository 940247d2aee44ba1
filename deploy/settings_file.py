"""The settings of a search as a file, and its mistakes in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from deploy.code_folder import CODE_FOLDER
from deploy.count import counted
from deploy.custom_settings import CustomSearchSettings
from deploy.ready import DEFAULT, SEARCHES, TRAININGS, ReadySettings
from deploy.settings import ImageSearchSettings, LanguageSearchSettings, SearchSettings
from deploy.train_settings import TRAIN_KINDS, TrainSettings

S = TypeVar("S", bound=BaseModel)

# The kinds of search: one with a trainer of the user's is the last, and of the others the name of
# the data says which one it is.
KINDS: tuple[type[SearchSettings], ...] = (
    ImageSearchSettings,
    LanguageSearchSettings,
    CustomSearchSettings,
)


class SettingsError(ValueError):
    """The settings cannot be used; the message names every mistake."""


# What pydantic says, and what people say.
_WORDS = {
    "a valid tuple": "a list",
    "a valid dictionary": "a mapping of settings",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
}


class _Loader(yaml.SafeLoader):
    """YAML as the library's safe loader reads it, with two of its traps closed.

    1e-3 is a number, as in YAML 1.2, and no string. A key that is given twice is a mistake.
    """


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is given twice", key_node.start_mark
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
    return _load(DEFAULT if path is None else path, SEARCHES, overrides, KINDS)


def load_train_settings(path: Path | str, overrides: Sequence[str] = ()) -> TrainSettings:
    """Read the settings of the training of one network; see `load_settings`."""
    return _load(path, TRAININGS, overrides, TRAIN_KINDS)


def example_text(path: Path | str | None = None) -> str:
    """Give the file that `load_settings` would read, as it is written.

    Raises:
        SettingsError: it cannot be read.
    """
    return _read(SEARCHES.find(DEFAULT if path is None else path), SEARCHES)


def read_settings(source: Path | Traversable, ready: ReadySettings | None = None) -> dict[str, Any]:
    """Read the settings that a YAML file holds, whatever they are.

    Args:
        ready: such files that come with nasrl, to be named where this one is missing.

    Raises:
        SettingsError: it cannot be read, or holds none.
    """
    try:
        data = yaml.load(_read(source, ready), _Loader)  # noqa: S506 (a safe one)
    except yaml.YAMLError as error:
        raise SettingsError(f"settings file {source} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"settings file {source}: must be a mapping of settings to values")
    return data


def _read(source: Path | Traversable, ready: ReadySettings | None) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = "" if ready is None else f"; these come with nasrl: {', '.join(ready.names)}"
        raise SettingsError(f"settings file {source} does not exist{known}") from error
    except IsADirectoryError as error:
        raise SettingsError(
            f"settings file {source} is a directory: must be a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {source} is not a text file: {error}") from error
    except OSError as error:
        raise SettingsError(f"settings file {source} cannot be read: {error}") from error


def _load(
    path: Path | str, ready: ReadySettings, overrides: Sequence[str], kinds: Sequence[type[S]]
) -> S:
    source = ready.find(path)
    data = read_settings(source, ready)
    for override in overrides:
        apply_override(data, override)
    changed = ", and what was changed" if overrides else ""
    folders = [Path.cwd()]
    if isinstance(source, Path):
        beside = source.absolute().parent
        folders = list(dict.fromkeys([beside, beside / CODE_FOLDER, *folders]))
    return checked(data, _kind_of(data, kinds), f"{source}{changed}", kinds, folders)


def checked(
    data: Mapping[str, Any],
    kind: type[S],
    origin: str,
    kinds: Sequence[type[S]] = (),
    folders: Sequence[Path] = (),
) -> S:
    """Give settings of a kind, from what a YAML file or a dump of them holds.

    Args:
        origin: where they are from, for the message.
        kinds: all kinds of which it is one.
        folders: where code of the user's is looked for.

    Raises:
        SettingsError: a key or value is wrong; names all mistakes.
    """
    try:
        return kind.model_validate(data, context={"folders": folders})
    except ValidationError as error:
        found = _without_consequences(error.errors())
        if unknown := [
            m for m in found if m["type"] == "union_tag_invalid" and m["loc"] == ("data",)
        ]:
            found = unknown  # no telling what the other settings have to be
        mistakes = [_describe(mistake, kind, kinds) for mistake in found]
        count = counted(len(mistakes), "mistake")
        lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
        raise SettingsError(f"{count} in the settings ({origin}):{lines}") from error


def _kind_of(settings: Mapping[str, Any], kinds: Sequence[type[S]]) -> type[S]:
    """Give the kind that has data of the name given; the first where none has.

    The one without data is that of a trainer of the user's.
    """
    if "trainer" in settings or isinstance(settings.get("space"), str):
        return next((kind for kind in kinds if "data" not in kind.model_fields), kinds[0])
    data = settings.get("data")
    name = data.get("name") if isinstance(data, Mapping) else None
    return next((kind for kind in kinds if name in _data_names(kind)), kinds[0])


def _data_names(kind: type[BaseModel]) -> list[str]:
    data = kind.model_fields.get("data")
    return [] if data is None else [name for name in _models_of(data.annotation) if name]


def apply_override(data: dict[str, Any], override: str) -> None:
    """Change one setting among others; override is as in `load_settings`.

    Raises:
        SettingsError: it is no key=value, or the key is no place for one.
    """
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


def _describe(mistake: Any, settings: type[BaseModel], kinds: Sequence[type[BaseModel]]) -> str:
    """Turn one mistake found by pydantic into a line: name, value, what must hold, what to do."""
    location = _without_tags(mistake["loc"], settings)
    key = _key(location)
    given, kind = mistake["input"], mistake["type"]
    if kind == "extra_forbidden":
        known = _known_keys(mistake["loc"][:-1], settings)
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = _key((*location[:-1], *close))
        hint = f"; did you mean {meant!r}?" if close else ";"
        return f"unknown setting {key!r}{hint} known: {', '.join(known)}"
    if kind == "missing":
        description = (
            _model_at(mistake["loc"][:-1], settings).model_fields[location[-1]].description
        )
        example = "`nasrl search --example` prints every setting"
        return f"{key}: must be given" + (f". {description}" if description else f"; {example}")
    if kind == "union_tag_invalid":
        tags = mistake["ctx"]["expected_tags"].replace("'", "").split(", ")
        if key == "data":
            tags = [name for each in kinds for name in _data_names(each)]
        return f"{key}.name={given['name']!r}: must be one of {', '.join(tags)}"
    if kind == "union_tag_not_found":
        names = [name for each in kinds for name in _data_names(each)]
        return f"{key}.name: must be given, one of {', '.join(names)}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{key}={given!r}: must hold settings: {', '.join(_known_keys(location, settings))}"
    what = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    for jargon, word in _WORDS.items():
        what = what.replace(jargon, word)
    if kind == "too_short":
        what = "must have at least one value"
    if kind == "float_type" and str(given).lower() in ("nan", "inf", "-inf"):
        what = "must be a finite number"
    if given is None:
        return f"{key} has no value: {what}"
    # A mistake between several keys names them and their values itself.
    if _model_at(mistake["loc"], settings):
        return f"{key}: {what}" if key else what
    return f"{key}={given!r}: {what}"


def _key(location: Sequence[Any]) -> str:
    """Give a place in the settings as people write it.

    >>> _key(["space", "num_filters", 0])
    'space.num_filters[0]'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _models_of(annotation: Any) -> dict[str | None, Any]:
    """Give the kinds of settings that a key may hold, by the name that tells them apart."""
    members = [m for m in (annotation, *get_args(annotation)) if hasattr(m, "model_fields")]
    if len(members) == 1:
        return {None: members[0]}
    return {name: m for m in members for name in get_args(m.model_fields["name"].annotation)}


def _model_at(location: Sequence[Any], settings: type[BaseModel]) -> Any:
    """Give the settings at a place where pydantic found a mistake; None where there is a value."""
    model: Any = settings
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


def _without_tags(location: Sequence[Any], settings: type[BaseModel]) -> tuple[Any, ...]:
    """Give the place as a person writes it, without the kind that pydantic puts in."""
    return tuple(
        part
        for index, part in enumerate(location)
        if not index or part not in _kinds_at(location[:index], settings)
    )


def _kinds_at(location: Sequence[Any], settings: type[BaseModel]) -> Sequence[str]:
    field = settings.model_fields.get(location[0]) if len(location) == 1 else None
    return [] if field is None else [name for name in _models_of(field.annotation) if name]


def _known_keys(sections: Sequence[Any], settings: type[BaseModel]) -> list[str]:
    return list(_model_at(sections, settings).model_fields)
