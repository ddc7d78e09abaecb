"""Checks the source code of Zato services for features that zatotx does not support. The source is parsed, and never
imported or executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.service.compat.import_finder import ALIASES, MODULES
from zatotx.service.service import Service

_OUTGOING = frozenset({'out', 'outgoing'})

# Attributes of a service in Zato 1.1 to 4.x -> what to use instead, as the rest of a sentence; '' if there is nothing.
_ZATO_ATTRIBUTES: Mapping[str, str] = {
    'audit_pii': '', 'broker_client': '', 'cassandra_conn': '', 'cassandra_query': '', 'cloud': '', 'commands': '',
    'config': 'use self.user_config', 'crypto': 'use cryptography', 'definition': '', 'destination': '',
    'dictnav': 'use the payload itself', 'email': 'use twisted.mail or smtplib', 'grpc': '', 'im': '',
    'invoke_all_pids': '', 'invoke_by_id': 'use self.invoke with the name of the service',
    'listnav': 'use the payload itself', 'llm': '', 'msg': 'use self.request.payload', 'odb': 'use self.out.sql',
    'publish': 'use self.invoke_async or an outgoing AMQP connection', 'pubsub': 'use an outgoing AMQP connection',
    'redis': 'use self.kvdb', 'rules': '', 'run_in_thread': 'a def service runs in a thread already', 'search': '',
    'security': '', 'sleep': 'a def service may call time.sleep', 'sms': '', 'spawn': 'use self.invoke_async',
    'sso': '', 'static': '', 'worker_store': '', 'wsx': '',
}  # fmt: skip


@frozen(order=True)
class MigrationProblem:
    """A use of an unsupported feature in a file: its description and its line. Line 0 stands for the whole file."""

    line: int
    text: str


def check_source(source: str, outgoing_names: Collection[str]) -> list[MigrationProblem]:
    """Return the problems in the source code of a module of services, in the order of their lines. `outgoing_names` are
    the names of `self.out.<name>` that are installed."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        version = f'{sys.version_info.major}.{sys.version_info.minor}'
        return [MigrationProblem(error.lineno or 0, f'this is not Python {version}: {error.msg}')]
    except ValueError as error:
        return [MigrationProblem(0, f'this is not Python: {error}')]
    found = {*_import_problems(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.update(_attribute_problems(node, outgoing_names))
    return sorted(found)


def _import_problems(tree: ast.AST) -> Iterator[MigrationProblem]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_of_zato(alias.name) and alias.name not in MODULES:
                    yield MigrationProblem(node.lineno, f'zatotx has no module {alias.name}')
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _is_of_zato(node.module or ''):
            yield from _missing_names(node, node.module or '')


def _missing_names(node: ast.ImportFrom, module: str) -> Iterator[MigrationProblem]:
    if module not in MODULES:
        yield MigrationProblem(node.lineno, f'zatotx has no module {module}{suggest_similar_name(module, MODULES)}')
        return
    names = {name for provided in MODULES[module].values() for name in provided} | set(ALIASES.get(module, ()))
    for alias in node.names:
        if alias.name != '*' and alias.name not in names and f'{module}.{alias.name}' not in MODULES:
            yield MigrationProblem(
                node.lineno, f'zatotx has no {module}.{alias.name}{suggest_similar_name(alias.name, names)}'
            )


def _is_of_zato(module: str) -> bool:
    return module == 'zato' or module.startswith('zato.') or module in ('bunch', 'anyjson')


def _attribute_problems(cls: ast.ClassDef, outgoing_names: Collection[str]) -> Iterator[MigrationProblem]:
    """Yield the attributes of `self` that Zato's services have and this class neither inherits nor defines."""
    own = set(_own_names(cls))
    for node in ast.walk(cls):
        match node:
            case ast.Attribute(attr=name, value=ast.Name(id='self')) if name in _ZATO_ATTRIBUTES and name not in own:
                if not hasattr(Service, name):
                    advice = _ZATO_ATTRIBUTES[name]
                    yield MigrationProblem(
                        node.lineno, f'zatotx has no self.{name}' + (f': {advice}' if advice else '')
                    )
            case ast.Attribute(attr=name, value=ast.Attribute(attr=out, value=ast.Name(id='self'))) if (
                out in _OUTGOING and name not in outgoing_names and not name.startswith('_')
            ):
                known = ', '.join(sorted(outgoing_names))
                yield MigrationProblem(node.lineno, f'zatotx has no self.{out}.{name}, only {known}')


def _own_names(cls: ast.ClassDef) -> Iterator[str]:
    """Yield the names that a class defines: its methods and variables, and the attributes that it sets."""
    for node in ast.walk(cls):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, value=ast.Name(id='self'), ctx=ast.Store()):
                yield name
