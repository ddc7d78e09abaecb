"""The `zatotx` command: in the test's own process, which has imported it already, or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import msgspec

from zatotx.cli.main import run

_SCRIPT = Path(sys.executable).with_name('zatotx')
_SECONDS = 120  # for a process of its own


class Said(msgspec.Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


def zatotx(*args: object, env: Mapping[str, str] | None = None, stdin: bytes | None = None) -> Said:
    """`zatotx ARGS` with these additions to the environment; `stdin` is what a pipe brings, None = nothing."""
    out, err = _text(), _text()
    with redirect_stdout(out), redirect_stderr(err), _environment(env or {}), _stdin(stdin or b''):
        code = run([str(arg) for arg in args])
    return Said(code, _content(out), _content(err))


def apart(*args: object, env: Mapping[str, str] | None = None) -> Said:
    """`zatotx ARGS` as users run it, in a process of its own."""
    done = subprocess.run(
        [str(_SCRIPT), *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, **(env or {})},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def sentences(err: str) -> list[str]:
    """The lines of a command's stderr, without those that say that it takes its time, as on a slow machine they do, and
    without the list that follows a sentence on several mistakes."""
    return [line for line in err.splitlines() if not line.endswith(' …') and not line.startswith('  ')]


def _text() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding='utf-8', write_through=True)


def _content(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode('utf-8')


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:  # what stays as it was is left alone: a thread may be starting a process with it
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _stdin(content: bytes) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content), encoding='utf-8')
    try:
        yield
    finally:
        sys.stdin = before
