"""Determines which line of service code a thread is executing. The location consists of the service, the file and the
line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from zatotx.model.gc_disabled import gc_disabled

_HASH = 64  # hex digits of a SHA-256, the directory name of a deployed version
_POLLING = frozenset({'epollreactor.py', 'pollreactor.py', 'selectreactor.py', 'asyncioreactor.py'})


class StackLocation(NamedTuple):
    """A location in the code. `service` is '' if no service is running there."""

    service: str
    position: str  # 'crm.py:12'


def make_deployed_name(root: Path) -> Callable[[str], str]:
    """Return a function that maps a code object's file name to the path shown to service authors, or to '' for a file
    outside `root`.

    >>> files_below(Path('/env/work'))('/env/work/deployed/<64 hex digits>/crm/util.py')
    'crm/util.py'
    """
    prefix = f'{root}/'

    def display_name(filename: str) -> str:
        if not filename.startswith(prefix):
            return ''
        parts = filename[len(prefix) :].split('/')
        hashed = max((number for number, part in enumerate(parts) if len(part) == _HASH), default=len(parts) - 2)
        return '/'.join(parts[hashed + 1 :])

    return display_name


def locate_frame(frame: FrameType, deployed_name: Callable[[str], str]) -> StackLocation | None:
    """Return the innermost line of a deployed file in a stack. If the stack contains no deployed file, return the
    innermost line, or None if the thread only waits for events. The function runs no other code, so that the observed
    thread cannot continue in the meantime."""
    with gc_disabled:
        return _find_location(frame, deployed_name)


def _find_location(frame: FrameType, deployed: Callable[[str], str]) -> StackLocation | None:
    innermost = f'{_shorten(frame.f_code.co_filename)}:{frame.f_lineno}'
    if Path(frame.f_code.co_filename).name in _POLLING:
        return None
    service = where = ''
    for outer in _frames_outwards(frame):
        name = deployed(outer.f_code.co_filename)
        if name and not where:
            where = f'{name}:{outer.f_lineno}'
        service = service or _service_name(outer)
        if where and service:
            break
    return StackLocation(service, where or innermost)


def _frames_outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _service_name(frame: FrameType) -> str:
    # The service store sets the name on the class: reading it runs no code of the service.
    for name in ('self', 'service'):
        if name in frame.f_code.co_varnames:
            service_name = getattr(type(frame.f_locals.get(name)), '_zatotx_name', '')
            if isinstance(service_name, str) and service_name:
                return service_name
    return ''


def _shorten(filename: str) -> str:
    """Return the last two parts of a path, which suffice to find the file."""
    return '/'.join(filename.split('/')[-2:])
