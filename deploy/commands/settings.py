"""`nasrl settings`: what a setting is, what it may be, and its default."""

from __future__ import annotations

import difflib
import textwrap
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from deploy.settings_reference import Group, Kind, Setting

_WIDTH = 100


@click.command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print all of them as a page, docs/settings.md.")
def settings(name: str | None, markdown: bool) -> int:
    """Say what settings there are.

    NAME is a setting, such as training.learning_rate, or a section, such as training. Without it
    the sections are listed.
    """
    from deploy.settings_page import settings_page
    from deploy.settings_reference import Kind, groups

    if markdown:
        if name is not None:
            raise click.UsageError("--markdown, NAME: must be one of them; the page has all")
        click.echo(settings_page(), nl=False)
        return 0
    all_groups = [(kind, group) for kind in Kind for group in groups(kind)]
    if name is None:
        _list_sections(all_groups)
        return 0
    found: dict[Group, tuple[list[Setting], list[Kind]]] = {}
    for kind, group in all_groups:
        chosen = [each for each in group.settings if f"{each.name}.".startswith(f"{name}.")]
        if chosen:
            found.setdefault(group, (chosen, []))[1].append(kind)
    if not found:
        known = {each.name for _, group in all_groups for each in group.settings}
        known |= {group.name for _, group in all_groups}
        [close] = difflib.get_close_matches(name, known, n=1) or [""]
        hint = f"did you mean {close!r}? " if close else ""
        raise UserMistake(f"unknown setting {name!r}; {hint}`nasrl settings` lists all sections")
    click.echo("\n\n".join(_described(group, *of_it) for group, of_it in found.items()))
    return 0


def _list_sections(all_groups: list[tuple[Kind, Group]]) -> None:
    texts: dict[str, dict[str, None]] = {}  # of each section, those of all kinds, once
    for _, group in all_groups:
        if group.name:
            texts.setdefault(group.heading, {})[group.text] = None
    for name, of_kinds in texts.items():
        click.echo(_wrapped(f"{name}: {' Or: '.join(of_kinds)}", indent=2))
    unnamed = [each.name for _, group in all_groups if not group.name for each in group.settings]
    click.echo(_wrapped(f"and, in no section: {', '.join(dict.fromkeys(unnamed))}", indent=2))
    click.echo("\n`nasrl settings NAME` says what is in one, or what one setting is.")


def _described(group: Group, chosen: list[Setting], kinds: list[Kind]) -> str:
    of_kinds = "; ".join(kind.value for kind in kinds)
    heading = f"{group.heading or 'in no section'} ({of_kinds})"
    about = [_wrapped(group.text, indent=0)] if group.name and len(chosen) > 1 else []
    lines = [_wrapped(heading, indent=0), *about]
    for each in chosen:
        default = "must be given" if each.default is None else f"default {each.default}"
        lines += [f"  {each.name}", _wrapped(f"{each.values}; {default}", indent=4)]
        lines.append(_wrapped(each.text, indent=4))
    return "\n".join(lines)


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2)
    )
