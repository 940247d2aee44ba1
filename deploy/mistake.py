"""What a user can put right: shown as one message, without a traceback."""

from __future__ import annotations

import click


class UserMistake(click.ClickException):
    """A command was given something that cannot be used; nothing was started."""

    exit_code = 2
