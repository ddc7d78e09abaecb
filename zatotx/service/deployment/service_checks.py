"""Which classes of an imported version are services, and everything that is wrong with them at once.

A service is a subclass of Service defined in that file (feature map 3.1), without `zato_dont_import` in its own body
and not kept out by its `before_add_to_store`. A base class without a `handle` that others in the file build on is a
helper, not a mistake.
"""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType

from attrs import define

from zatotx.model.errors import BadRequest
from zatotx.service.deployment.module_importer import LoadedModule, error_sentence
from zatotx.service.deployment.package import SourcePackage
from zatotx.service.entry import ServiceEntry
from zatotx.service.metadata import BadDeclaration, describe_service
from zatotx.service.naming import plain_name, service_name
from zatotx.service.service import Service

MARKER = 'zato_dont_import'
RESERVED = 'zato.'  # the beginning of names that are zatotx's own
LONGEST_NAME = 1000


@define(slots=False, eq=False)
class CheckedVersion:
    """An imported version whose services are good. `number` is the version's in the ODB, once it is known."""

    loaded: LoadedModule
    services: Mapping[str, ServiceEntry]
    number: int = 0

    @property
    def source(self) -> SourcePackage:
        return self.loaded.source

    def place(self, name: str) -> str:
        """`crm.py:12`, where the service of that name begins."""
        return place_of(self.loaded, self.services[name].cls)

    @cached_property
    def wants_announcement(self) -> bool:
        """Does any of its services want to hear that it was added?"""
        return any(
            entry.cls.after_add_to_store is not Service.after_add_to_store  # type: ignore[attr-defined]
            for entry in self.services.values()
        )


def check_services(loaded: LoadedModule) -> CheckedVersion:
    """The services of a version. Raises BadRequest with every mistake, each with file and line. Blocking: it runs
    users' code (`get_name`, `before_add_to_store`)."""
    try:
        return _Check(loaded).run()
    except BadRequest:
        raise
    except BaseException as e:
        raise BadRequest(error_sentence(e, loaded.space.root, loaded.source.file)) from None


def announce_added(checked: CheckedVersion) -> None:
    """Call `after_add_to_store` of every service; their mistakes are logged, as in Zato. Blocking: users' code."""
    for name, entry in checked.services.items():
        logger = logging.getLogger(name)
        try:
            entry.cls.after_add_to_store(logger)  # type: ignore[attr-defined]
        except (Exception, SystemExit):  # sys.exit() in users' code ends neither the process nor the others' turn
            logger.exception('after_add_to_store of %s failed; the service was added', name)


def candidates(module: ModuleType) -> list[type[Service]]:
    """The Service subclasses that a module defines, in the order it does."""
    found = dict.fromkeys(
        value
        for value in list(vars(module).values())
        if isinstance(value, type) and issubclass(value, Service) and value.__module__ == module.__name__
    )
    return [cls for cls in found if MARKER not in vars(cls)]


class _Check:
    """One run over one version: what was found, what is wrong."""

    def __init__(self, loaded: LoadedModule) -> None:
        self.loaded = loaded
        self.mistakes: list[str] = []
        self.entries: dict[str, ServiceEntry] = {}

    def run(self) -> CheckedVersion:
        found = [(module, cls) for module in self.loaded.modules for cls in candidates(module)]
        bases = {base for _, cls in found for base in cls.__mro__[1:]}
        helpers = {cls for _, cls in found if cls in bases and not _has_handle(cls)}
        services = [(module, cls) for module, cls in found if cls not in helpers]
        for module, cls in services:
            self._take(module, cls)
        if not services:
            self.mistakes.append(
                f'{self.loaded.source.file}: there is no service in it, '
                'which is a class that inherits from Service and has handle(self)'
            )
        elif not self.entries and not self.mistakes:
            self.mistakes.append(f'{self.loaded.source.file}: before_add_to_store keeps every service of it out')
        if self.mistakes:
            raise BadRequest('; '.join(self.mistakes))
        return CheckedVersion(self.loaded, self.entries)

    def _take(self, module: ModuleType, cls: type[Service]) -> None:
        wrong: list[str] = []
        name = service_name(cls, plain_name(module.__name__))
        try:
            traits = describe_service(cls)
        except BadDeclaration as e:
            wrong += e.mistakes
        wrong += _name_mistakes(cls, name)
        if name in self.entries:
            other = self.entries[name].cls
            wrong.append(f'the name of {cls.__name__} is taken by {other.__name__} at {place_of(self.loaded, other)}')
        if wrong:
            place = place_of(self.loaded, cls)
            self.mistakes += [f'{place}: service {name!r}: {what}' for what in wrong]
        elif cls.before_add_to_store(logging.getLogger(name)):
            cls._zatotx_name = name  # so that self.invoke(ThatClass) finds it
            file = self.loaded.source.file
            self.entries[name] = ServiceEntry(name=name, cls=cls, traits=traits, file=file)


def place_of(loaded: LoadedModule, cls: type) -> str:
    """`crm.py:12`, where a class of that version begins."""
    file = Path(getattr(sys.modules[cls.__module__], '__file__', '') or '')
    path = file.relative_to(loaded.space.root).as_posix()
    return f'{path}:{line_of(loaded.source.files[path], cls.__qualname__)}'


def _has_handle(cls: type[Service]) -> bool:
    by_verb = any(name.startswith('handle_') and name[7:].isupper() for name in dir(cls))
    return by_verb or cls.handle is not Service.handle


def _name_mistakes(cls: type[Service], name: str) -> Iterator[str]:
    own = vars(cls).get('name')
    if own is not None and not isinstance(own, str):
        yield f'{cls.__name__}.name must be text, not {type(own).__name__}'
    if name.startswith(RESERVED):
        yield f"the name of {cls.__name__} begins with {RESERVED!r}, such names are the broker's own"
    if name != name.strip() or not name.isprintable():
        yield f'the name of {cls.__name__} has blanks at its ends or characters that cannot be seen'
    if len(name) > LONGEST_NAME:
        yield f'the name of {cls.__name__} has {len(name)} characters, at most {LONGEST_NAME} may be'


def line_of(text: bytes, qualname: str) -> int:
    """Where the class of that qualified name begins; 1 where it was not made by a class statement."""
    body: list[ast.stmt] = ast.parse(text).body
    line = 1
    for part in qualname.replace('<locals>.', '').split('.'):
        for statement in body:
            if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == part:
                line, body = statement.lineno, statement.body
                break
    return line
