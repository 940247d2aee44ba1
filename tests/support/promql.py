"""Expressions of PromQL, taken apart: which metrics and labels they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKENS = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<range>\[[^\]]*\])
    |(?P<variable>\$\w+)
    |(?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:ms|[smhdwy])?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},@])""",
    re.VERBOSE,
)
_OVER_LABELS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass
class Query:
    """What an expression asks for.

    selectors: (metric, {label: (operator, value)}) in their order. grouped_by: the labels that it
    aggregates or matches over.
    """

    selectors: list[tuple[str, dict[str, tuple[str, str]]]] = field(default_factory=list)
    grouped_by: set[str] = field(default_factory=set)


def parse(expression: str) -> Query:
    """Take an expression apart.

    Raises:
        ValueError: something in it is not known.

    >>> parse('sum by (run) (rate(nasrl_x_total{a="b"}[5m])) > 2').selectors
    [('nasrl_x_total', {'a': ('=', 'b')})]
    """
    tokens = list(_tokens(expression))
    query, at = Query(), 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name" or text.lower() in _WORDS:
            continue
        if text in _OVER_LABELS:
            if following == "(":
                end = _end(tokens, at, ")")
                query.grouped_by |= {word for what, word in tokens[at:end] if what == "name"}
                at = end
            continue
        if following in ("(", "by", "without"):
            continue  # a function, or an aggregation
        labels: dict[str, tuple[str, str]] = {}
        if following == "{":
            end = _end(tokens, at, "}")
            matchers = [token for token in tokens[at + 1 : end] if token[1] != ","]
            for (_, name), (_, sign), (what, value) in zip(*[iter(matchers)] * 3, strict=True):
                assert what == "string", f"{name}{sign}{value}: must be a string"
                labels[name] = (sign, value[1:-1])
            at = end + 1
        query.selectors.append((text, labels))
    return query


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        match = _TOKENS.match(expression, at)
        if match is None:
            raise ValueError(f"{expression[at:]!r}: no token of PromQL begins here")
        at = match.end()
        if match.lastgroup is not None and match.lastgroup != "space":
            yield match.lastgroup, match[0]


def _end(tokens: list[tuple[str, str]], start: int, sign: str) -> int:
    """Give where the sign is that closes what opens at start."""
    for at in range(start, len(tokens)):
        if tokens[at] == ("sign", sign):
            return at
    raise ValueError(f"{tokens[start:]}: must have {sign!r}")
