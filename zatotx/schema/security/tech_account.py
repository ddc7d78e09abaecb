"""Technical accounts, Zato's legacy credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error


class TechAccount(SecurityDefinition, frozen=True, kw_only=True):
    """A user name and a password in the header fields X-Zato-User and X-Zato-Password."""

    username: Annotated[
        str,
        field('User name in X-Zato-User; empty = the name of the account', max_length=1000,
              check=control_character_error),
    ] = ''
    password: Annotated[
        str,
        field('Password in X-Zato-Password; without one all requests are rejected', secret='encrypted',
              check=control_character_error),
    ] = ''


def _deletion_error(account: TechAccount, request: Mapping[str, Any]) -> str:
    """Prevents an account from deleting itself, as in Zato."""
    if request.get('current_tech_account_name') == account.name:
        return f'Technical account {account.name!r} may not delete itself'
    return ''


TECH_ACCOUNT = ObjectType(
    key='tech_account',
    struct=TechAccount,
    section='security',
    tag='tech_account',
    title='Technical account',
    zato=ZatoApi(
        prefix='security.tech-account',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        sec_type='tech_acc',
        deletion_error=_deletion_error,
    ),
)
