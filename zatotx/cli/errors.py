"""The exception with which commands fail."""

from __future__ import annotations

from collections.abc import Sequence

import click


class CommandError(click.ClickException):
    """The command failed: one sentence with what failed, for which object, and what to do. Exit code 1."""

    exit_code = 1


def combine_errors(errors: Sequence[str], summary: str) -> CommandError:
    """Return a CommandError for one or several errors: a single error is the message; several are listed one per line
    below `summary`, in which `{}` is replaced by their number."""
    unique = list(dict.fromkeys(errors))
    return CommandError(unique[0] if len(unique) == 1 else '\n  '.join([f'{summary.format(len(unique))}:', *unique]))


def format_os_error(error: OSError) -> str:
    """Return an operating system error as a sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    sentence = f'{reason}: {error.filename}' if error.filename else reason
    return f'{sentence}: run the command as the owner of the file' if isinstance(error, PermissionError) else sentence
