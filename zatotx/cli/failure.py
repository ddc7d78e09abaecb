"""The one way a command fails."""

from __future__ import annotations

from collections.abc import Sequence

import click


class Failure(click.ClickException):
    """What was asked for failed: one sentence with what, where and what to do. Exit code 1."""

    exit_code = 1


def failure_of(mistakes: Sequence[str], summary: str) -> Failure:
    """Failure of one mistake, as a sentence; of several, a line each, below `summary` with their number for `{}`."""
    sentences = [said if said.endswith(('.', '?')) else f'{said}.' for said in dict.fromkeys(mistakes)]
    if len(sentences) == 1:
        return Failure(sentences[0])
    return Failure('\n  '.join([f'{summary.format(len(sentences))}:', *sentences]))


def sentence_of(error: OSError) -> str:
    """An operating system's error as a sentence."""
    reason = error.strerror or str(error) or type(error).__name__
    said = f'{reason}: {error.filename}' if error.filename else reason
    return f'{said}: run it as the user who owns that' if isinstance(error, PermissionError) else said
