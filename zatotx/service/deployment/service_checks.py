"""Finds the services in an imported version of a file, checks them, and reports all errors at once.

A service is a subclass of Service defined in that file (feature map 3.1), without `zato_dont_import` in its own body
and accepted by its `before_add_to_store`. A class without a `handle` that is the base of others in the file is a
helper, not an error.
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
from zatotx.service.deployment.module_importer import ImportedVersion, format_import_error
from zatotx.service.deployment.source_package import SourcePackage
from zatotx.service.metadata import InvalidServiceClass, describe_service
from zatotx.service.naming import original_module_name, service_name
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry

MARKER = 'zato_dont_import'
RESERVED = 'zato.'  # prefix of the names of services built into zatotx
MAX_NAME = 1000


@define(slots=False, eq=False)
class CheckedVersion:
    """An imported version whose services passed all checks.

    `number` is its version number in the ODB, 0 until it is known.
    """

    loaded: ImportedVersion
    services: Mapping[str, ServiceEntry]
    number: int = 0

    @property
    def source(self) -> SourcePackage:
        return self.loaded.source

    def service_location(self, name: str) -> str:
        """Return the location of a service's class: `crm.py:12`."""
        return class_location(self.loaded, self.services[name].cls)

    @cached_property
    def has_after_add_hook(self) -> bool:
        """Whether any of its services overrides `after_add_to_store`."""
        return any(
            entry.cls.after_add_to_store is not Service.after_add_to_store  # type: ignore[attr-defined]
            for entry in self.services.values()
        )


def check_services(loaded: ImportedVersion) -> CheckedVersion:
    """Check the services of an imported version, and return them.

    Raises BadRequest listing every error with file and line. Blocking: it runs users' code (`get_name`,
    `before_add_to_store`).
    """
    try:
        return _VersionCheck(loaded).run()
    except BadRequest:
        raise
    except BaseException as error:
        raise BadRequest(format_import_error(error, loaded.namespace.root, loaded.source.file)) from None


def call_after_add_hooks(checked: CheckedVersion) -> None:
    """Call `after_add_to_store` of every service. Exceptions are logged, as in Zato. Blocking, because users' code is
    executed."""
    for name, entry in checked.services.items():
        logger = logging.getLogger(name)
        try:
            entry.cls.after_add_to_store(logger)  # type: ignore[attr-defined]
        except (Exception, SystemExit):  # sys.exit() in users' code must not end the process or skip other services
            logger.exception('after_add_to_store of %s failed; the service was added', name)


def service_classes(module: ModuleType) -> list[type[Service]]:
    """Return the Service subclasses that a module defines, in order of definition."""
    classes = dict.fromkeys(
        value
        for value in list(vars(module).values())
        if isinstance(value, type) and issubclass(value, Service) and value.__module__ == module.__name__
    )
    return [cls for cls in classes if MARKER not in vars(cls)]


class _VersionCheck:
    """One check of one version: collects its services and errors."""

    def __init__(self, loaded: ImportedVersion) -> None:
        self.loaded = loaded
        self.errors: list[str] = []
        self.entries: dict[str, ServiceEntry] = {}

    def run(self) -> CheckedVersion:
        """Check all classes. Raises BadRequest listing every error."""
        classes = [(module, cls) for module in self.loaded.modules for cls in service_classes(module)]
        bases = {base for _, cls in classes for base in cls.__mro__[1:]}
        helpers = {cls for _, cls in classes if cls in bases and not _has_handle(cls)}
        services = [(module, cls) for module, cls in classes if cls not in helpers]
        for module, cls in services:
            self._check_service(module, cls)
        if not services:
            self.errors.append(
                f'{self.loaded.source.file}: there is no service in it, '
                'which is a class that inherits from Service and has handle(self)'
            )
        elif not self.entries and not self.errors:
            self.errors.append(f'{self.loaded.source.file}: before_add_to_store keeps every service of it out')
        if self.errors:
            raise BadRequest('; '.join(self.errors))
        return CheckedVersion(self.loaded, self.entries)

    def _check_service(self, module: ModuleType, cls: type[Service]) -> None:
        """Check one class, and add it to the services or its errors to the errors."""
        errors: list[str] = []
        name = service_name(cls, original_module_name(module.__name__))
        try:
            metadata = describe_service(cls)
        except InvalidServiceClass as error:
            errors += error.errors
        errors += _name_errors(cls, name)
        if name in self.entries:
            other_class = self.entries[name].cls
            errors.append(
                f'the name of {cls.__name__} is taken by {other_class.__name__} '
                f'at {class_location(self.loaded, other_class)}'
            )
        if errors:
            location = class_location(self.loaded, cls)
            self.errors += [f'{location}: service {name!r}: {error}' for error in errors]
        elif cls.before_add_to_store(logging.getLogger(name)):
            cls._zatotx_name = name  # lets self.invoke(TheClass) find it
            file = self.loaded.source.file
            self.entries[name] = ServiceEntry(name=name, cls=cls, metadata=metadata, file=file)


def class_location(loaded: ImportedVersion, cls: type) -> str:
    """Return the location of a class in the files of its version, such as `crm.py:12`."""
    file = Path(getattr(sys.modules[cls.__module__], '__file__', '') or '')
    path = file.relative_to(loaded.namespace.root).as_posix()
    return f'{path}:{find_class_line(loaded.source.files[path], cls.__qualname__)}'


def _has_handle(cls: type[Service]) -> bool:
    by_verb = any(name.startswith('handle_') and name[7:].isupper() for name in dir(cls))
    return by_verb or cls.handle is not Service.handle


def _name_errors(cls: type[Service], name: str) -> Iterator[str]:
    """Yield what is wrong with the name of a service."""
    declared = vars(cls).get('name')
    if declared is not None and not isinstance(declared, str):
        yield f'{cls.__name__}.name must be text, not {type(declared).__name__}'
    if name.startswith(RESERVED):
        yield f"the name of {cls.__name__} begins with {RESERVED!r}, such names are the broker's own"
    if name != name.strip() or not name.isprintable():
        yield f'the name of {cls.__name__} has blanks at its ends or characters that cannot be seen'
    if len(name) > MAX_NAME:
        yield f'the name of {cls.__name__} has {len(name)} characters, at most {MAX_NAME} may be'


def find_class_line(text: bytes, qualname: str) -> int:
    """Return the line number of the class with the given qualified name, or 1 if no class statement defines it."""
    body: list[ast.stmt] = ast.parse(text).body
    line = 1
    for part in qualname.replace('<locals>.', '').split('.'):
        for statement in body:
            if isinstance(statement, ast.ClassDef | ast.FunctionDef) and statement.name == part:
                line, body = statement.lineno, statement.body
                break
    return line
