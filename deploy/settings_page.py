"""The reference of settings as a page of text with tables, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deploy.settings import SearchSettings
from deploy.settings_reference import Group, Kind, Setting, groups

_HEAD = """\
# Every setting

Written by `make docs` from the models that read them: change the descriptions there. In a terminal
`nasrl settings` lists the sections, and `nasrl settings NAME` describes one section or setting:
`nasrl settings training.learning_rate`.

A name in dots is a place in the file, and what `--set` takes: `policy.hidden_size` is `hidden_size`
in the section `policy`. A setting that is left out has its default, which is the paper's, and is
meant for hundreds of GPUs; the files that come with nasrl (`nasrl search --example`) have others.
s3.2, s4.1 and their like are sections of Zoph & Le 2017, v1 to v3 rows of its Table 1. Where there
is no default, the setting must be given. What must hold between several settings is said when it
does not.
"""
_COMMON = set(SearchSettings.model_fields)


def settings_page() -> str:
    """Give the page: what all searches have, what each kind has, `nasrl train` and `retrain`."""
    images, language = groups(Kind.IMAGE_SEARCH), groups(Kind.LANGUAGE_SEARCH)
    custom = groups(Kind.CUSTOM_SEARCH)
    parts = [
        ("All searches", [group for group in images if _is_common(group)]),
        ("Searches over image networks", [group for group in images if not _is_common(group)]),
        ("Searches over recurrent cells", [group for group in language if not _is_common(group)]),
        ("Searches over a space of your own", _own(custom)),
    ]
    others = _defaults(language)
    text = [_HEAD]
    for title, found in parts:
        text.append(f"## {title}\n")
        of_others = others if title == parts[0][0] else {}
        for group in found:
            text.extend(_section(group, of_others))
    text.append("## nasrl train\n")
    text.extend(_trained())
    text.append("## nasrl retrain\n")
    for group in groups(Kind.RETRAINING):
        text.extend(_section(group, {}))
    return "\n".join(text)


def _own(found: Sequence[Group]) -> list[Group]:
    """Leave out what all searches have, also among the settings in no section."""
    unnamed = replace(
        found[0], settings=tuple(each for each in found[0].settings if each.name not in _COMMON)
    )
    return [unnamed, *(group for group in found if not _is_common(group))]


def _is_common(group: Group) -> bool:
    return not group.name or group.name.partition(".")[0] in _COMMON


def _defaults(found: Sequence[Group]) -> dict[tuple[str, str], str | None]:
    return {(group.heading, each.name): each.default for group in found for each in group.settings}


def _section(group: Group, others: dict[tuple[str, str], str | None]) -> Iterator[str]:
    """Give a heading, what the group is about, and a table.

    Args:
        others: the defaults of searches over cells, told where they differ.
    """
    if group.name:
        tags = f", with `name: {'`, `'.join(group.tags)}`" if group.tags else ""
        yield f"### `{group.name}`{tags}\n\n{group.text}\n"
    if group.settings:
        yield "| setting | may be | default | |\n|---|---|---|---|"
        for setting in group.settings:
            other = others.get((group.heading, setting.name), setting.default)
            yield _row(setting, other)
        yield ""


def _row(setting: Setting, other: str | None) -> str:
    default = "" if setting.default is None else f"`{setting.default}`"
    if other != setting.default:
        default += f"; for cells `{other}`"
    cells = (f"`{setting.name}`", setting.values, default, setting.text)
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _trained() -> Iterator[str]:
    """Give what `nasrl train` has besides what is the same in searches."""
    pairs = (
        (Kind.IMAGE_TRAINING, Kind.IMAGE_SEARCH, "image networks"),
        (Kind.LANGUAGE_TRAINING, Kind.LANGUAGE_SEARCH, "recurrent cells"),
    )
    yield from _section(groups(pairs[0][0])[0], {})
    for training, search, what in pairs:
        same = set(groups(search))
        own = [group for group in groups(training) if group.name]
        sections = dict.fromkeys(f"`{g.name.partition('.')[0]}`" for g in own if g in same)
        yield f"For {what}, {', '.join(sections)} are those of their searches, above.\n"
        for group in own:
            if group not in same:
                yield from _section(group, {})
