"""Metadata of a service class, which is computed once at deployment, so that calls do not have to compute it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from attrs import frozen

from zatotx.service import soap
from zatotx.service.hooks import overridden_hooks
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.io.io_declaration import ServiceIO
from zatotx.service.service import Service


def uses_name_in_methods(cls: type, base: type, name: str) -> bool:
    """Return whether a method that `cls` adds to `base` contains `name`, as an attribute or as a string constant.

    Nested functions and classes are searched too. Functions defined elsewhere that receive `self` are not.
    """
    codes = [_code_of(value) for added in cls.__mro__ if added not in base.__mro__ for value in vars(added).values()]
    return any(name in names for code in codes for names in _names_and_constants(code))


def _code_of(value: Any) -> CodeType | None:
    """Return the code object of a method, seen through properties, class and static methods, and functools.wraps."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    code: CodeType | None = None
    if inspect.isfunction(value):
        code = getattr(inspect.unwrap(value), '__code__', None)
    return code


def _names_and_constants(code: CodeType | None) -> Iterator[tuple[Any, ...]]:
    """Yield the names and constants of a code object and of all code nested in it."""
    if code is None:
        return
    yield code.co_names
    yield code.co_consts
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_and_constants(constant)


VERBS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')


class InvalidServiceClass(ValueError):  # noqa: N818 - describes what the author wrote
    """Raised for a class that cannot be used as a service. `errors` contains one sentence for each reason."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = tuple(errors)
        super().__init__('; '.join(errors))


@frozen
class HandlerMethod:
    """A method that handles requests, which is `handle` or `handle_VERB`."""

    name: str
    function: Callable[[Any], Any]
    on_reactor: bool  # otherwise it runs in a thread


@frozen(kw_only=True)
class ServiceMetadata:
    """The metadata of a service class that the invoker needs."""

    io: ServiceIO
    handle: HandlerMethod | None
    verbs: Mapping[str, HandlerMethod]  # HTTP verb -> its handler
    hooks: frozenset[str]  # names of the hooks that the class overrides
    only_handler: HandlerMethod | None  # `handle`, if it is the only handler
    understood_headers: tuple[str, ...] = ()  # SOAP headers that the service processes
    reads_input: bool = True  # whether its code mentions `.input`

    @property
    def is_async(self) -> bool:
        """Whether every handler runs on the reactor."""
        return all(handler.on_reactor for handler in (*self.verbs.values(), *((self.handle,) if self.handle else ())))


def describe_service(cls: type) -> ServiceMetadata:
    """Return the metadata of a Service subclass. Raises InvalidServiceClass, which lists all errors."""
    errors: list[str] = []
    handle = _handler(cls, 'handle', errors) if getattr(cls, 'handle', None) is not Service.handle else None
    verbs: dict[str, HandlerMethod] = {}
    for name in dir(cls):
        if name.startswith('handle_') and name[7:].isupper():
            handler = _handler(cls, name, errors)
            if handler is not None:
                verbs[name[7:]] = handler
    if handle is None and not verbs and not errors:
        errors.append(f'{cls.__name__} has no handle(self)')
    if not _accepts_only_self(cls.__init__):  # type: ignore[misc]  # checked for this exact class
        errors.append(f'{cls.__name__}.__init__ must work without arguments: each call makes an instance')
    io = ServiceIO()
    try:
        io = read_io_declaration(cls)
    except (TypeError, NameError) as error:
        errors.append(f'{cls.__name__}.{error}')
    understands: tuple[str, ...] = ()
    try:
        understands = soap.parse_understood_headers(getattr(cls, 'soap_understands', ()))
    except TypeError as error:
        errors.append(f'{cls.__name__}.{error}')
    if errors:
        raise InvalidServiceClass(errors)
    return ServiceMetadata(io=io, handle=handle, verbs=verbs, hooks=overridden_hooks(cls),
                           only_handler=None if verbs else handle, understood_headers=understands,
                           reads_input=uses_name_in_methods(cls, Service, 'input'))  # fmt: skip


def _handler(cls: type, name: str, errors: list[str]) -> HandlerMethod | None:
    """Return the handler of that name, or None after adding the reason to `errors`."""
    function = getattr(cls, name)
    if not callable(function) or isinstance(cls.__dict__.get(name), (staticmethod, classmethod)):
        errors.append(f'{cls.__name__}.{name} is not a method')
        return None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        errors.append(
            f'{cls.__name__}.{name} is a generator: stream with self.response.stream(…), '
            'or decorate it with inlineCallbacks'
        )
        return None
    if not _accepts_only_self(function):
        errors.append(f'{cls.__name__}.{name} must take self and nothing else')
        return None
    return HandlerMethod(name, function, runs_on_reactor(function))


def _accepts_only_self(function: Callable[..., Any]) -> bool:
    """Return whether a method can be called without arguments."""
    if function is object.__init__:  # most services have no other, and its signature has to be parsed from a text
        return True
    if type(function) is FunctionType and not function.__dict__:  # a plain function: its signature is its code's
        code = function.__code__
        required = code.co_argcount - len(function.__defaults__ or ())
        takes_self = code.co_argcount > 0 or bool(code.co_flags & inspect.CO_VARARGS)
        return takes_self and required <= 1 and code.co_kwonlyargcount == len(function.__kwdefaults__ or ())
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    return True


def runs_on_reactor(function: Any) -> bool:
    """Return whether a method runs in the reactor's thread.

    True for coroutine functions, for inlineCallbacks functions, and for functions annotated as returning a Deferred or
    an awaitable. All others may block and run in a thread.
    """
    if inspect.iscoroutinefunction(function):
        return True
    wrapped = getattr(function, '__wrapped__', None)
    if wrapped is not None and (runs_on_reactor(wrapped) or inspect.isgeneratorfunction(wrapped)):
        return True
    annotation = getattr(function, '__annotations__', {}).get('return', '')
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return any(type_name in text for type_name in ('Deferred', 'Awaitable', 'Coroutine'))
