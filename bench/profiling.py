"""Profile of an echo: the server under cProfile and load."""

from __future__ import annotations

import io
import pstats
from pathlib import Path

from bench import load, subjects
from bench.environment import TWISTD, Environment
from bench.machine import SERVER_CORE, pinned, running

_SHOWN = 45


def profile(environment: Environment, folder: Path, *, seconds: float) -> str:
    """A table of functions by their own time. The environment serves the echoes; its server is restarted.

    cProfile measures the reactor thread only. It slows down each call, so small functions are overrepresented.
    """
    stats = folder / 'echo.prof'
    environment.command('stop', str(environment.server))
    command = [TWISTD, '-n', f'--profile={stats}', '--profiler=cprofile', '--savestats']
    with running(pinned(SERVER_CORE, [*command, 'zato-server', '--dir', str(environment.server)]), grace=20):
        environment.wait_until_served(subjects.echo())
        result = load.run(environment.port, subjects.echo(), seconds=seconds)
    environment.start()
    out = io.StringIO()
    pstats.Stats(str(stats), stream=out).sort_stats('tottime').print_stats(_SHOWN)
    return f'{result.rate:,.0f} echoes/s under the profiler\n{out.getvalue()}'
