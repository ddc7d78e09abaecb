"""What is worked out about a service class once, when it is deployed, so that no call has to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from zatotx.service import soap
from zatotx.service.code_inspection import mentioned_names
from zatotx.service.hooks import overridden_hooks
from zatotx.service.io.declaration import describe_io
from zatotx.service.io.description import IO
from zatotx.service.service import Service

VERBS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')


class BadDeclaration(ValueError):  # noqa: N818 - it is what the author wrote
    """A service class that cannot be one: every reason in `mistakes`, a sentence each."""

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__('; '.join(mistakes))


@frozen
class Handler:
    """One way into a service: `handle` or `handle_VERB`."""

    name: str
    function: Callable[[Any], Any]
    on_reactor: bool  # else in a thread


@frozen(kw_only=True)
class ServiceMetadata:
    """How a service is run."""

    io: IO
    handle: Handler | None
    verbs: Mapping[str, Handler]  # HTTP verb -> its handler
    hooks: frozenset[str]  # those it has of its own
    only: Handler | None  # `handle`, where there is nothing to choose
    understands: tuple[str, ...] = ()  # SOAP headers
    asks_input: bool = True  # its code says `.input`

    @property
    def is_async(self) -> bool:
        """Whether every way in runs on the reactor."""
        return all(h.on_reactor for h in (*self.verbs.values(), *((self.handle,) if self.handle else ())))


def describe_service(cls: type) -> ServiceMetadata:
    """The traits of a Service subclass. Raises BadDeclaration with everything that is wrong with it."""
    mistakes: list[str] = []
    handle = _handler(cls, 'handle', mistakes) if getattr(cls, 'handle', None) is not Service.handle else None
    verbs: dict[str, Handler] = {}
    for name in dir(cls):
        if name.startswith('handle_') and name[7:].isupper():
            handler = _handler(cls, name, mistakes)
            if handler is not None:
                verbs[name[7:]] = handler
    if handle is None and not verbs and not mistakes:
        mistakes.append(f'{cls.__name__} has no handle(self)')
    if not _takes_self_alone(cls.__init__):  # type: ignore[misc]  # of this very class, whatever it is
        mistakes.append(f'{cls.__name__}.__init__ must work without arguments: each call makes an instance')
    io = IO()
    try:
        io = describe_io(cls)
    except (TypeError, NameError) as error:
        mistakes.append(f'{cls.__name__}.{error}')
    understands: tuple[str, ...] = ()
    try:
        understands = soap.declared_headers(getattr(cls, 'soap_understands', ()))
    except TypeError as error:
        mistakes.append(f'{cls.__name__}.{error}')
    if mistakes:
        raise BadDeclaration(mistakes)
    return ServiceMetadata(io=io, handle=handle, verbs=verbs, hooks=overridden_hooks(cls),
                           only=None if verbs else handle, understands=understands,
                           asks_input=mentioned_names(cls, Service, 'input'))  # fmt: skip


def _handler(cls: type, name: str, mistakes: list[str]) -> Handler | None:
    function = getattr(cls, name)
    if not callable(function) or isinstance(cls.__dict__.get(name), (staticmethod, classmethod)):
        mistakes.append(f'{cls.__name__}.{name} is not a method')
        return None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        mistakes.append(
            f'{cls.__name__}.{name} is a generator: stream with self.response.stream(…), '
            'or decorate it with inlineCallbacks'
        )
        return None
    if not _takes_self_alone(function):
        mistakes.append(f'{cls.__name__}.{name} must take self and nothing else')
        return None
    return Handler(name, function, runs_on_reactor(function))


def _takes_self_alone(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    return True


def runs_on_reactor(function: Any) -> bool:
    """Whether a method is for the reactor's thread: a coroutine function, or one that inlineCallbacks made, or one
    annotated as returning a Deferred or an awaitable. Anything else may block and gets a thread."""
    if inspect.iscoroutinefunction(function):
        return True
    wrapped = getattr(function, '__wrapped__', None)
    if wrapped is not None and (runs_on_reactor(wrapped) or inspect.isgeneratorfunction(wrapped)):
        return True
    returns = getattr(function, '__annotations__', {}).get('return', '')
    text = returns if isinstance(returns, str) else repr(returns)
    return any(word in text for word in ('Deferred', 'Awaitable', 'Coroutine'))
