"""Imports code aside: each version of each file in a corner of `sys.modules` of its own, beside what runs.

`crm.py` becomes the module `zatotx_deployed.v12.crm`; the next version is `zatotx_deployed.v13.crm`, and both live
as long as anybody uses them. A package's own absolute imports (`import crm.util`, `from crm import util`) stay in its
version, also the ones inside functions that run later: a version's modules have a `__builtins__` of their own, whose
`__import__` knows the version. Relative imports need no help. `importlib.import_module` by an absolute name does not
know who asks: a package uses a relative name there.

User code runs here, so all of this happens in a thread of its own (own_thread.py), never in the reactor's; what it
raises, whatever that is, becomes one sentence with the user's file and line.
"""

from __future__ import annotations

import builtins
import sys
import threading
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
from zatotx.service.deployment.package import MODULE, SourcePackage
from zatotx.service.naming import DEPLOYED

PREFIX = DEPLOYED
_SKIPPED = frozenset({'test', 'tests', '__main__', 'conftest', 'setup'})
_numbers = count(1)
_spaces: dict[str, ModuleNamespace] = {}  # by the name of its package, read by the finder


class ModuleNamespace:
    """The corner of `sys.modules` that one version lives in."""

    def __init__(self, root: Path, tops: Sequence[str]) -> None:
        self.package = f'{PREFIX}.v{next(_numbers)}'
        self.root = root
        self.tops = frozenset(tops)
        self.builtins = {**vars(builtins), '__import__': self._import}

    def open(self) -> None:
        """Let the finder find this version's modules."""
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
        _spaces[self.package] = self

    def close(self) -> None:
        """Forget the version's modules. What still runs of them runs on. Idempotent; any thread."""
        _spaces.pop(self.package, None)
        inner = self.package + '.'
        for name in list(sys.modules):
            if name == self.package or name.startswith(inner):
                sys.modules.pop(name, None)
        parent = sys.modules.get(PREFIX)
        if parent is not None:
            vars(parent).pop(self.package.rpartition('.')[2], None)

    def load(self, name: str) -> ModuleType:
        """The module `name` ('crm', 'crm.util') of this version."""
        full = f'{self.package}.{name}'
        builtins.__import__(full)
        return sys.modules[full]

    def spec(self, full: str) -> ModuleSpec | None:
        """Where the module of that whole name is, or None."""
        base = self.root.joinpath(*full[len(self.package) + 1 :].split('.'))
        package = base / '__init__.py'
        if package.is_file():
            loader = _Loader(full, str(package), self.builtins)
            return spec_from_file_location(full, package, loader=loader, submodule_search_locations=[str(base)])
        path = base.with_name(base.name + '.py')
        if not path.is_file():
            return None
        return spec_from_file_location(full, path, loader=_Loader(full, str(path), self.builtins))

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:
        """What `import` statements of this version's modules call."""
        top = name.partition('.')[0]
        if level or top not in self.tops:
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = builtins.__import__(f'{self.package}.{name}', globals, locals, fromlist or ('__name__',), 0)
        return found if fromlist else sys.modules[f'{self.package}.{top}']


class _Loader(SourceFileLoader):
    """Runs a module with its version's builtins."""

    def __init__(self, fullname: str, path: str, own: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._own = own

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__['__builtins__'] = self._own
        super().exec_module(module)


class _Finder:
    """On `sys.meta_path`: finds modules of the spaces that are open, and nothing else."""

    @classmethod
    def find_spec(cls, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        if fullname == PREFIX or fullname in _spaces:
            return ModuleSpec(fullname, None, is_package=True)
        space = _spaces.get('.'.join(fullname.split('.', 2)[:2]))
        return space.spec(fullname) if space else None


class LoadedModule:
    """A version that was imported. Its modules stay in `sys.modules` until the last holder of this object is gone."""

    __slots__ = ('__weakref__', 'modules', 'source', 'space')

    def __init__(self, source: SourcePackage, space: ModuleNamespace, modules: Sequence[ModuleType]) -> None:
        self.source = source
        self.space = space
        self.modules = tuple(modules)
        weakref.finalize(self, space.close).atexit = False


def load(source: SourcePackage, directory: Path) -> LoadedModule:
    """Write the files below `directory`, import every module of them. Blocking: it runs users' code. Raises BadRequest
    with one sentence naming file and line, whatever the code did."""
    import_finder.install()  # so that `from zato.server.service import Service` works in it
    root = directory / source.sha256
    materialise(root, source)
    space = ModuleNamespace(root, () if source.form == MODULE else source.tops)
    space.open()
    try:
        modules = [space.load(name) for name in module_names(source)]
    except BaseException as e:  # SystemExit and KeyboardInterrupt of a module are its mistakes, not ours
        space.close()
        raise BadRequest(error_sentence(e, root, source.file).replace(space.package + '.', '')) from None
    return LoadedModule(source, space, modules)


def module_names(source: SourcePackage) -> list[str]:
    """The modules in which services are looked for: all of them but tests, setup and `__main__`."""
    names = []
    for path in sorted(source.files):
        parts = path.removesuffix('.py').split('/')
        if not path.endswith('.py') or not all(part.replace('-', '_').isidentifier() for part in parts):
            continue
        if source.form == MODULE or not any(part in _SKIPPED or part.startswith('test_') for part in parts[1:]):
            names.append('.'.join(parts[:-1] if parts[-1] == '__init__' else parts))
    return names


def materialise(root: Path, source: SourcePackage) -> None:
    """Have the files on disk, each whole or not at all; closed to group and others."""
    for path, data in source.files.items():
        place = root.joinpath(*PurePosixPath(path).parts)
        if place.is_file() and place.read_bytes() == data:
            continue
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = place.with_name(f'.{place.name}.{threading.get_ident()}')
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_bytes(data)
        fresh.replace(place)


def error_sentence(error: BaseException, root: Path, file: str) -> str:
    """`crm.py:12: NameError: name 'x' is not defined`: where in the user's files, and what."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(root):
        return f'{_shown(Path(error.filename), root)}:{error.lineno or 1}: {kind}: {_said(error.msg)}'
    place = last_line_of_file(error.__traceback__, root) or file
    said = _said(error)
    return f'{place}: {kind}: {said}' if said else f'{place}: {kind}'


def last_line_of_file(traceback: TracebackType | None, root: Path) -> str:
    """The innermost `file:line` below `root`, or ''."""
    found = ''
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.is_relative_to(root):
            found = f'{_shown(path, root)}:{traceback.tb_lineno}'
        traceback = traceback.tb_next
    return found


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _said(error: object) -> str:
    """Its text in one line; the exception is the user's, so even asking for its text may fail."""
    try:
        text = ' '.join(str(error).split())
    except Exception:
        return ''
    return text if len(text) <= 500 else text[:500] + '…'
