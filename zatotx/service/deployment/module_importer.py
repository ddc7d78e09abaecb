"""Imports each version of a deployed file in a separate package in `sys.modules`. Thus the import does not affect
running versions.

`crm.py` becomes the module `zatotx_deployed.v12.crm`; the next version is `zatotx_deployed.v13.crm`, and both exist as
long as they are in use. A package's own absolute imports (`import crm.util`, `from crm import util`) resolve to the
same version, even in functions that run later: the modules of a version have their own `__builtins__`, whose
`__import__` knows the version. Relative imports need no help. `importlib.import_module` with an absolute name does not
know its caller: packages must use relative names there.

This runs users' code, so it runs in its own thread (import_thread.py), never in the reactor's; any exception becomes
one sentence with the user's file and line.
"""

from __future__ import annotations

import builtins
import sys
import weakref
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import count
from pathlib import Path, PurePosixPath
from types import ModuleType, TracebackType
from typing import Any

from zatotx.model.errors import BadRequest
from zatotx.service.compat import import_finder
from zatotx.service.deployment.source_package import MODULE, SourcePackage
from zatotx.service.naming import DEPLOYED_PACKAGE
from zatotx.system.atomic_file import write_file

PREFIX = DEPLOYED_PACKAGE
_SKIPPED = frozenset({'test', 'tests', '__main__', 'conftest', 'setup'})
_numbers = count(1)
_open_namespaces: dict[str, ModuleNamespace] = {}  # by package name; read by the finder


class ModuleNamespace:
    """The package in `sys.modules` that contains the modules of one version."""

    def __init__(self, root: Path, top_level_modules: Sequence[str]) -> None:
        self.package = f'{PREFIX}.v{next(_numbers)}'
        self.root = root
        self.top_level_modules = frozenset(top_level_modules)
        self.builtins = {**vars(builtins), '__import__': self._import}

    def open(self) -> None:
        """Make the modules of this version importable."""
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
        _open_namespaces[self.package] = self

    def close(self) -> None:
        """Remove the modules of this version from `sys.modules`; running code continues. Idempotent; any thread."""
        _open_namespaces.pop(self.package, None)
        prefix = self.package + '.'
        for name in list(sys.modules):
            if name == self.package or name.startswith(prefix):
                sys.modules.pop(name, None)
        parent = sys.modules.get(PREFIX)
        if parent is not None:
            vars(parent).pop(self.package.rpartition('.')[2], None)

    def load(self, name: str) -> ModuleType:
        """Import the module `name` ('crm', 'crm.util') of this version."""
        full_name = f'{self.package}.{name}'
        builtins.__import__(full_name)
        return sys.modules[full_name]

    def find_spec(self, full_name: str) -> ModuleSpec | None:
        """Return the spec of the module of that full name, or None."""
        base = self.root.joinpath(*full_name[len(self.package) + 1 :].split('.'))
        package = base / '__init__.py'
        if package.is_file():
            loader = _Loader(full_name, str(package), self.builtins)
            return spec_from_file_location(full_name, package, loader=loader, submodule_search_locations=[str(base)])
        path = base.with_name(base.name + '.py')
        if not path.is_file():
            return None
        return spec_from_file_location(full_name, path, loader=_Loader(full_name, str(path), self.builtins))

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        """The `__import__` function of this version's modules."""
        top = name.partition('.')[0]
        if level or top not in self.top_level_modules:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(f'{self.package}.{name}', globals, locals, fromlist or ('__name__',), 0)
        return module if fromlist else sys.modules[f'{self.package}.{top}']


class _Loader(SourceFileLoader):
    """Executes a module with the builtins of its version."""

    def __init__(self, fullname: str, path: str, version_builtins: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._version_builtins = version_builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__['__builtins__'] = self._version_builtins
        super().exec_module(module)


class _Finder:
    """Finds the modules of the open namespaces; installed on `sys.meta_path`."""

    @classmethod
    def find_spec(cls, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        if fullname == PREFIX or fullname in _open_namespaces:
            return ModuleSpec(fullname, None, is_package=True)
        namespace = _open_namespaces.get('.'.join(fullname.split('.', 2)[:2]))
        return namespace.find_spec(fullname) if namespace else None


class ImportedVersion:
    """An imported version. Its modules stay in `sys.modules` as long as this object is referenced."""

    __slots__ = ('__weakref__', 'modules', 'namespace', 'source')

    def __init__(self, source: SourcePackage, namespace: ModuleNamespace, modules: Sequence[ModuleType]) -> None:
        self.source = source
        self.namespace = namespace
        self.modules = tuple(modules)
        weakref.finalize(self, namespace.close).atexit = False


def import_source(source: SourcePackage, directory: Path) -> ImportedVersion:
    """Write the files of a source package below `directory`, and import all of its modules. Blocking, because users'
    code is executed.

    Raises BadRequest with one sentence naming file and line, whatever the code does.
    """
    import_finder.install()  # makes `from zato.server.service import Service` work
    root = directory / source.sha256
    write_source_files(root, source)
    namespace = ModuleNamespace(root, () if source.form == MODULE else source.top_level_modules)
    namespace.open()
    try:
        modules = [namespace.load(name) for name in importable_modules(source)]
    except BaseException as error:  # even SystemExit and KeyboardInterrupt are errors of the module
        namespace.close()
        raise BadRequest(format_import_error(error, root, source.file).replace(namespace.package + '.', '')) from None
    return ImportedVersion(source, namespace, modules)


def importable_modules(source: SourcePackage) -> list[str]:
    """Return the names of the modules that may define services: all modules except tests, setup and `__main__`."""
    names = []
    for path in sorted(source.files):
        parts = path.removesuffix('.py').split('/')
        if not path.endswith('.py') or not all(part.replace('-', '_').isidentifier() for part in parts):
            continue
        if source.form == MODULE or not any(part in _SKIPPED or part.startswith('test_') for part in parts[1:]):
            names.append('.'.join(parts[:-1] if parts[-1] == '__init__' else parts))
    return names


def write_source_files(root: Path, source: SourcePackage) -> None:
    """Write the files of a source package to disk. Each file is written atomically, and is not readable by group and
    others."""
    for path, data in source.files.items():
        target = root.joinpath(*PurePosixPath(path).parts)
        if target.is_file() and target.read_bytes() == data:
            continue
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(target, data)


def format_import_error(error: BaseException, root: Path, file: str) -> str:
    """Format an import error as one sentence, such as `crm.py:12: NameError: name 'x' is not defined`."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(root):
        return f'{_relative_path(Path(error.filename), root)}:{error.lineno or 1}: {kind}: {_one_line(error.msg)}'
    location = innermost_location(error.__traceback__, root) or file
    text = _one_line(error)
    return f'{location}: {kind}: {text}' if text else f'{location}: {kind}'


def innermost_location(traceback: TracebackType | None, root: Path) -> str:
    """Return the innermost location (`file:line`) below `root` in a traceback, or ''."""
    location = ''
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.is_relative_to(root):
            location = f'{_relative_path(path, root)}:{traceback.tb_lineno}'
        traceback = traceback.tb_next
    return location


def _relative_path(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _one_line(error: object) -> str:
    """Return the text of an error in one line; '' if the user's exception class fails to provide it."""
    try:
        text = ' '.join(str(error).split())
    except Exception:
        return ''
    return text if len(text) <= 500 else text[:500] + '…'
