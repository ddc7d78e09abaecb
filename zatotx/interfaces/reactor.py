"""The reactor: the union of Twisted's interfaces that zatotx uses."""

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
    """A reactor with sockets and processes, as epoll's. What needs less asks for less: IReactorTime where a clock is
    enough, so that a test can pass twisted.internet.task.Clock; IThreadReactor where threads report results."""
