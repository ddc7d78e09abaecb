"""Where the time of an echo goes: the server under cProfile while it is loaded."""

from __future__ import annotations

import io
import pstats
from pathlib import Path

from bench import load, subjects
from bench.environment import TWISTD, Environment
from bench.machine import SERVER_CORE, pinned, running

_SHOWN = 45


def profile(environment: Environment, folder: Path, *, seconds: float) -> str:
    """The functions that took most time of their own. The environment serves the echoes; its server is restarted.

    cProfile counts the reactor's thread and slows each call, so small functions weigh more than they do in truth.
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
