"""Reads the cases that others wrote (trial_tests/corpora)."""

from __future__ import annotations

import re
from pathlib import Path

CORPORA = Path(__file__).resolve().parent.parent / 'corpora'
_NAMED = {b'r': b'\r', b'n': b'\n', b't': b'\t', b'0': b'\0'}
_ESCAPE = re.compile(rb'\\(?:x([0-9a-fA-F]{2})|([rnt0]))')
_LINE_OF_1_1 = re.compile(rb'(HTTP/1\.1\r\n)(?!Host:)')


def http1_cases(folder: str) -> dict[str, bytes]:
    """The requests of `valid` or `invalid` by name, as the bytes that they mean."""
    return {path.stem: _bytes_of(path.read_bytes()) for path in sorted((CORPORA / 'http1' / folder).glob('*.http'))}


def json_cases(prefix: str) -> dict[str, bytes]:
    """The JSON texts of `y_`, `n_` or `i_` by name."""
    return {path.stem: path.read_bytes() for path in sorted((CORPORA / 'json').glob(f'{prefix}*.json'))}


def with_host(request: bytes) -> bytes:
    """The same requests with a Host where HTTP/1.1 wants one and none was sent."""
    if re.search(rb'(?i)\nHost:', request):
        return request
    return _LINE_OF_1_1.sub(rb'\1Host: added.example\r\n', request)


def _bytes_of(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda m: bytes((int(m[1], 16),)) if m[1] else _NAMED[m[2]], text.replace(b'\n', b''))
