"""A kind with a secret that can be read back: no kind of zatotx has one yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from zatotx.schema.meta import ObjectType, field
from zatotx.schema.secrets import ConfigObject
from zatotx.schema.snapshot import Operation


class Vault(ConfigObject, frozen=True, kw_only=True):
    """Holds a secret."""

    name: Annotated[str, field('Its name.', min_length=1)]
    password: Annotated[str, field('Its secret.', secret='encrypted')] = ''
    note: Annotated[str, field('Not secret.')] = ''


VAULT = ObjectType(key='vault', struct=Vault, section='vault', title='Vault')

KIND = '''
from zatotx.interfaces.connector_kind import SERVER, ConnectorKind

kind = ConnectorKind(name='vault', title='Vault', runs_in=SERVER, schema='trial_tests.support.vault:OBJECT_TYPES')
'''
OBJECT_TYPES = (VAULT,)


def vault(name: str, password: str) -> Operation:
    """Create one."""
    return Operation(action='create', type='vault', name=name, fields={'name': name, 'password': password})


def installed(directory: Path) -> dict[str, str]:
    """Put the kind there, as a package of somebody else's has it; the variables of programs that find it."""
    place = directory / 'zatotx' / 'plugins' / 'vault'
    place.mkdir(parents=True, exist_ok=True)
    (place / '__init__.py').write_text(KIND, 'utf-8')
    return {'PYTHONPATH': f'{directory}:{Path(__file__).parent.parent.parent}'}
