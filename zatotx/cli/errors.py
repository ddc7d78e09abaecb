"""The one way a command fails."""

from __future__ import annotations

from collections.abc import Sequence

import click


class CommandError(click.ClickException):
    """What was asked for failed: one sentence with what, where and what to do. Exit code 1."""

    exit_code = 1


def failure_of(mistakes: Sequence[str], summary: str) -> CommandError:
    """Failure of one mistake, as it is said; of several, a line each, below `summary` with their number for `{}`."""
    told = list(dict.fromkeys(mistakes))
    return CommandError(told[0] if len(told) == 1 else '\n  '.join([f'{summary.format(len(told))}:', *told]))


def error_sentence(error: OSError) -> str:
    """An operating system's error as a sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    said = f'{reason}: {error.filename}' if error.filename else reason
    return f'{said}: run it as the user who owns that' if isinstance(error, PermissionError) else said
