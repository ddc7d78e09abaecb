"""Interface of the reactor, which is the union of the Twisted interfaces that zatotx uses."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorSocket,
    IReactorSSL,
    IReactorTCP,
    IReactorUNIX,
)

from zatotx.system.thread_pool import IThreadReactor


class IReactor(
    IThreadReactor, IReactorCore, IReactorTCP, IReactorSSL, IReactorUNIX, IReactorSocket, IReactorFDSet,
    IReactorProcess, IReactorPluggableNameResolver,
):  # fmt: skip
    """A reactor with sockets and processes, such as the epoll reactor. Code should require a smaller interface if that
    is sufficient: IReactorTime if the code needs a clock only, so that a test can pass twisted.internet.task.Clock, or
    IThreadReactor if threads report results."""
