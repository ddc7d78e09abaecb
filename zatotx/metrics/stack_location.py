"""Where a thread is right now, in words a service author knows: the service, the file and the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from zatotx.model.gc_disabled import uncollected

_HASH = 64  # hex digits of a SHA-256, the name of the directory that a deployed version lies in
_POLLING = frozenset({'epollreactor.py', 'pollreactor.py', 'selectreactor.py', 'asyncioreactor.py'})


class StackLocation(NamedTuple):
    """`service` is '' where none is at work."""

    service: str
    where: str  # 'crm.py:12'


def files_below(root: Path) -> Callable[[str], str]:
    """A function from a code object's file name to what its author calls the file, '' for files not below `root`.

    >>> files_below(Path('/env/work'))('/env/work/deployed/<64 hex digits>/crm/util.py')
    'crm/util.py'
    """
    start = f'{root}/'

    def shown(filename: str) -> str:
        if not filename.startswith(start):
            return ''
        parts = filename[len(start) :].split('/')
        hashed = max((number for number, part in enumerate(parts) if len(part) == _HASH), default=len(parts) - 2)
        return '/'.join(parts[hashed + 1 :])

    return shown


def location_of(frame: FrameType, deployed: Callable[[str], str]) -> StackLocation | None:
    """The innermost line of a deployed file, else the innermost line; None where the thread only waits for events.
    Runs no code of the objects it looks at, nor any other, so that the thread cannot go on in the midst of it."""
    with uncollected:
        return _place_of(frame, deployed)


def _place_of(frame: FrameType, deployed: Callable[[str], str]) -> StackLocation | None:
    innermost = f'{_short(frame.f_code.co_filename)}:{frame.f_lineno}'
    if Path(frame.f_code.co_filename).name in _POLLING:
        return None
    service = where = ''
    for outer in _outwards(frame):
        name = deployed(outer.f_code.co_filename)
        if name and not where:
            where = f'{name}:{outer.f_lineno}'
        service = service or _service_at_work(outer)
        if where and service:
            break
    return StackLocation(service, where or innermost)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _service_at_work(frame: FrameType) -> str:
    # The name is on the class, where the service store puts it: reading it calls nothing of the service's.
    for name in ('self', 'service'):
        if name in frame.f_code.co_varnames:
            found = getattr(type(frame.f_locals.get(name)), '_zatotx_name', '')
            if isinstance(found, str) and found:
                return found
    return ''


def _short(filename: str) -> str:
    """The last two parts of a path: enough to find the file."""
    return '/'.join(filename.split('/')[-2:])
