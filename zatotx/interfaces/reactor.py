"""Interface of the reactor: the union of the Twisted interfaces that zatotx uses."""

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
    """A reactor with sockets and processes, such as the epoll reactor. Code that needs less requires less: IReactorTime
    if a clock is enough, so that a test can pass twisted.internet.task.Clock; IThreadReactor if threads report
    results."""
