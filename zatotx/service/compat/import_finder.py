"""An import finder that makes `from zato.server.service import Service` work, and provides `bunch` and `anyjson`.

The finder is the last one on sys.meta_path, so a package that is really installed under such a name takes precedence.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_SERVICE = 'zatotx.service.service'
_MODEL = 'zatotx.service.model'
_NAMES = 'zatotx.service.compat.zato_names'
_ERRORS = 'zatotx.model.errors'

_ELEMENTS = {
    'zatotx.service.io.elements': (
        'AsIs', 'Bool', 'Boolean', 'CSV', 'Date', 'DateTime', 'Decimal', 'Float', 'Int', 'Integer', 'List', 'Opaque',
        'Secret', 'Text', 'UTC', 'UUID', 'Unicode',
    ),
    'zatotx.service.io.record_elements': ('Dict', 'DictList', 'ListOfDicts', 'Nested'),
}  # fmt: skip
_EXCEPTIONS = {
    _ERRORS: (
        'BadRequest', 'Conflict', 'Forbidden', 'HTTPException', 'Inactive', 'InternalServerError', 'MethodNotAllowed',
        'NotFound', 'ServiceUnavailable', 'TooManyRequests', 'Unauthorized', 'ZatoException',
    ),
}  # fmt: skip
_CONSTANTS = {
    _NAMES: (
        'CHANNEL', 'CONNECTION', 'DATA_FORMAT', 'NO_DEFAULT_VALUE', 'PARAMS_PRIORITY', 'SCHEDULER',
        'SCHEDULER_JOB_TYPE', 'SIMPLE_IO', 'TRACE1', 'URL_PARAMS_PRIORITY', 'URL_TYPE', 'ZATO_DEFAULT', 'ZATO_ERROR',
        'ZATO_NONE', 'ZATO_NOT_GIVEN', 'ZATO_ODB_POOL_NAME', 'ZATO_OK', 'ZATO_SEC_USE_RBAC', 'ZATO_WARNING',
    ),
}  # fmt: skip
_TYPING = {
    _NAMES: (
        'any_', 'anydict', 'anydictnone', 'anylist', 'anylistnone', 'anynone', 'anyset', 'anytuple', 'binaryio_',
        'boolnone', 'callable_', 'callnone', 'cast_', 'commondict', 'dict_', 'dictlist', 'dictnone', 'dtnone',
        'floatnone', 'generator_', 'intanydict', 'intdict', 'intdictdict', 'intlist', 'intlistempty', 'intlistnone',
        'intnone', 'intset', 'intsetdict', 'intstrdict', 'iterator_', 'list_', 'list_field', 'listnone', 'noreturn',
        'optional', 'set_', 'str_', 'stranydict', 'strdict', 'strdictdict', 'strint', 'strintbool', 'strintdict',
        'strintnone', 'strlist', 'strlistdict', 'strlistempty', 'strlistnone', 'strnone', 'strorlist', 'strset',
        'strsetdict', 'strstrdict', 'strtuple', 'textio_', 'tuple_', 'type_', 'typealias_', 'typevar_', 'union_',
    ),
    'dataclasses': (
        'InitVar', 'asdict', 'astuple', 'dataclass', 'field', 'fields', 'is_dataclass', 'make_dataclass', 'replace',
    ),
    'typing': ('Protocol', 'TypedDict'),
}  # fmt: skip
_JSON = {_NAMES: ('dumps', 'loads')}

Names = Mapping[str, Sequence[str]]  # module of zatotx -> names imported from it

# The importable modules, with the names that each provides.
MODULES: dict[str, Names] = {
    'anyjson': _JSON,
    'bunch': {'zatotx.service.compat.bunch': ('Bunch', 'bunchify', 'unbunchify')},
    'zato': {},
    'zato.common': {**_CONSTANTS, **_EXCEPTIONS},
    'zato.common.api': _CONSTANTS,
    'zato.common.exception': _EXCEPTIONS,
    'zato.common.json_internal': _JSON,
    'zato.common.marshal_': {},
    'zato.common.marshal_.api': {_MODEL: ('Model',)},
    'zato.common.typing_': _TYPING,
    'zato.common.util': {_NAMES: ('asbool', 'new_cid')},
    'zato.common.util.api': {_NAMES: ('asbool', 'new_cid')},
    'zato.server': {},
    'zato.server.connection': {},
    'zato.server.connection.http_soap': _EXCEPTIONS,
    'zato.server.service': {_SERVICE: ('Service',), _MODEL: ('Model',), **_ELEMENTS},
    'zato.simpleio': _ELEMENTS,
}
ALIASES = {'anyjson': {'serialize': 'dumps', 'deserialize': 'loads'}}


class _AliasLoader(Loader):
    """Creates one of the modules above, filled with objects of zatotx under Zato's names."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        contents: dict[str, object] = {}
        for source_name, names in MODULES[module.__name__].items():
            source = import_module(source_name)
            contents.update((name, getattr(source, name)) for name in names)
        for alias, name in ALIASES.get(module.__name__, {}).items():
            contents[alias] = contents[name]
        vars(module).update(contents, __all__=sorted(contents))
        module.__doc__ = f'What zatotx offers under the name {module.__name__}.'


class ZatoFinder(MetaPathFinder):
    """Finds the modules of Zato's API and of the libraries `bunch` and `anyjson`, unless another finder has found a
    module with the same name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        parent = fullname.rpartition('.')[0]
        if parent and not isinstance(getattr(sys.modules.get(parent), '__loader__', None), _AliasLoader):
            return None  # the parent is a really installed zato package, which is left alone
        is_package = any(name.startswith(fullname + '.') for name in MODULES)
        return ModuleSpec(fullname, _AliasLoader(), origin='zatotx', is_package=is_package)


def install() -> ZatoFinder:
    """Append the finder to sys.meta_path, once per process, and return it."""
    for finder in sys.meta_path:
        if isinstance(finder, ZatoFinder):
            return finder
    new_finder = ZatoFinder()
    sys.meta_path.append(new_finder)
    return new_finder


def uninstall() -> None:
    """Remove the finder and the modules that it created."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, ZatoFinder)]
    for name in MODULES:
        if isinstance(getattr(sys.modules.get(name), '__loader__', None), _AliasLoader):
            del sys.modules[name]
