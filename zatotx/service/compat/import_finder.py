"""Makes `from zato.server.service import Service` work: an import finder for the names of Zato that services use, and
for `bunch` and `anyjson`, which many of them import.

The finder stands last on sys.meta_path, so a package that is really installed under such a name wins.
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
_FAULTS = 'zatotx.model.errors'

_ELEMENTS = {
    'zatotx.service.io.elements': (
        'AsIs', 'Bool', 'Boolean', 'CSV', 'Date', 'DateTime', 'Decimal', 'Float', 'Int', 'Integer', 'List', 'Opaque',
        'Secret', 'Text', 'UTC', 'UUID', 'Unicode',
    ),
    'zatotx.service.io.records': ('Dict', 'DictList', 'ListOfDicts', 'Nested'),
}  # fmt: skip
_EXCEPTIONS = {
    _FAULTS: (
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

Names = Mapping[str, Sequence[str]]  # our module -> what of it is visible

# Each module that can be imported, with what it offers.
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
_ALSO = {'anyjson': {'serialize': 'dumps', 'deserialize': 'loads'}}


class _Face(Loader):
    """Makes one of the modules above: real names of ours under Zato's roof."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        offered: dict[str, object] = {}
        for home, names in MODULES[module.__name__].items():
            source = import_module(home)
            offered.update((name, getattr(source, name)) for name in names)
        for alias, name in _ALSO.get(module.__name__, {}).items():
            offered[alias] = offered[name]
        vars(module).update(offered, __all__=sorted(offered))
        module.__doc__ = f'What zatotx offers under the name {module.__name__}.'


class ZatoFinder(MetaPathFinder):
    """Finds the modules above, where nothing else has that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        parent = fullname.rpartition('.')[0]
        if parent and not isinstance(getattr(sys.modules.get(parent), '__loader__', None), _Face):
            return None  # below a real zato: what it lacks is not ours to add
        inner = any(name.startswith(fullname + '.') for name in MODULES)
        return ModuleSpec(fullname, _Face(), origin='zatotx', is_package=inner)


def install() -> ZatoFinder:
    """Put the finder at the end of sys.meta_path, once a process; gives it."""
    for finder in sys.meta_path:
        if isinstance(finder, ZatoFinder):
            return finder
    made = ZatoFinder()
    sys.meta_path.append(made)
    return made


def uninstall() -> None:
    """Take the finder away, and the modules it made."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, ZatoFinder)]
    for name in [name for name in MODULES if isinstance(getattr(sys.modules.get(name), '__loader__', None), _Face)]:
        del sys.modules[name]
