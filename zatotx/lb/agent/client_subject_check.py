"""Checks whether the subject of a client's certificate contains the required fields (Zato's `verify_fields`). Pure
functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cryptography.x509 import Name

from zatotx.model.errors import StartError
from zatotx.wire.certificates import parse_name
from zatotx.wire.malformed import Malformed

# Long names of OpenSSL and Python, which Zato's configuration has, in lower case.
_LONG_NAMES = {
    'commonname': 'CN', 'organizationname': 'O', 'organizationalunitname': 'OU', 'localityname': 'L',
    'stateorprovincename': 'ST', 'countryname': 'C',
}  # fmt: skip


def make_subject_check(required: Mapping[str, str]) -> Callable[[Name], str]:
    """Return a function that checks a subject. It returns the missing fields as a clause, or '' if none are missing.
    `required` maps fields, such as CN or commonName, to values. Raises StartError, which lists all unknown fields."""
    by_oid: dict[str, tuple[str, str]] = {}
    errors = []
    for field, value in required.items():
        try:
            ((oid, _),) = parse_name(f'{_LONG_NAMES.get(field.lower(), field)}=value')[0]
            by_oid[oid] = field, value
        except Malformed:
            errors.append(f'[agent] verify_fields: {field!r} is not a field of a subject, such as CN, O or OU')
    if errors:
        raise StartError('; '.join(errors))

    def check(subject: Name) -> str:
        missing = [
            f'{field} is not {value!r}' for oid, (field, value) in by_oid.items()
            if value not in {each.value for each in subject if each.oid.dotted_string == oid}
        ]  # fmt: skip
        return f'has the wrong subject: {", ".join(missing)}' if missing else ''

    return check
