"""Technical accounts, Zato's first kind of logins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition, line_mistake


class TechAccount(Definition, frozen=True, kw_only=True):
    """A user name and a password in the fields X-Zato-User and X-Zato-Password."""

    username: Annotated[
        str,
        field('What the caller gives as X-Zato-User; empty = the name of the account', max_length=1000,
              check=line_mistake),
    ] = ''
    password: Annotated[
        str,
        field('What the caller gives as X-Zato-Password; until there is one nobody is admitted', secret='encrypted',
              check=line_mistake),
    ] = ''


def _stays(account: TechAccount, request: Mapping[str, Any]) -> str:
    """Zato: an account may not delete itself."""
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
        stays=_stays,
    ),
)
