"""Masks secrets in the text of a TOML file for a browser, and restores them in the text that the browser returns. Pure:
no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zatotx.wire.url_masking import is_secret_name

MASK = '******'
_TABLE = re.compile(r'\s*\[+([^\]]+)\]')
_TEXT = r'"(?:[^"\\]|\\.)*"|\'[^\']*\''
_SETTING = re.compile(rf'(\s*([A-Za-z0-9_.-]+)\s*=\s*)({_TEXT})(.*)', re.DOTALL)


class UnknownSecret(ValueError):  # noqa: N818 - what it is
    """The text contains a masked secret that the current file does not contain. The message is a sentence."""


def _lines(source: str) -> Iterator[tuple[str, tuple[str, str], re.Match[str] | None]]:
    """Yield each line with its table and key, and the match of one that sets a secret to a text."""
    table = ''
    for line in source.splitlines(keepends=True):
        if found := _TABLE.match(line):
            table = found[1].strip()
        setting = _SETTING.match(line)
        is_secret = setting is not None and is_secret_name(setting[2])
        yield line, (table, setting[2] if setting else ''), setting if is_secret else None


def mask_source(source: str) -> str:
    """Return the text of a TOML file with the values of secrets masked."""
    return ''.join(
        line if secret is None or len(secret[3]) <= 2 else f'{secret[1]}"{MASK}"{secret[4]}'
        for line, _, secret in _lines(source)
    )


def unmask_source(edited: str, present: str) -> str:
    """Replace the masked secrets in the edited text with the secrets of the present text. Secrets are matched by table
    and name. Raises UnknownSecret."""
    known = {place: secret[3] for _, place, secret in _lines(present) if secret is not None}
    parts = []
    for line, place, secret in _lines(edited):
        if secret is None or secret[3][1:-1] != MASK:
            parts.append(line)
        elif place in known:
            parts.append(f'{secret[1]}{known[place]}{secret[4]}')
        else:
            table, name = place
            raise UnknownSecret(f'[{table}] {name} is masked, and the configuration in force has none: write it out')
    return ''.join(parts)
