"""The exception that commands raise to fail with a message."""

from __future__ import annotations

from collections.abc import Sequence

import click


class CommandError(click.ClickException):
    """A command failed. The message is one sentence that says what failed, for which object, and what to do. The exit
    code is 1."""

    exit_code = 1


def combine_errors(errors: Sequence[str], summary: str) -> CommandError:
    """Return a CommandError for one or several errors. A single error is the message; several errors are listed one per
    line below `summary`, in which `{}` is replaced with the number of errors."""
    unique = list(dict.fromkeys(errors))
    return CommandError(unique[0] if len(unique) == 1 else '\n  '.join([f'{summary.format(len(unique))}:', *unique]))


def format_os_error(error: OSError) -> str:
    """Format an operating system error as a sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    sentence = f'{reason}: {error.filename}' if error.filename else reason
    return f'{sentence}: run the command as the owner of the file' if isinstance(error, PermissionError) else sentence
