"""The file config/break-glass.toml of the web admin, which contains the credentials of the break-glass account."""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = 'break-glass.toml'  # in config/


class BreakGlassCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file with the credentials of the break-glass account."""

    username: str
    password_hash: str  # argon2id

    def __repr__(self) -> str:
        return f'BreakGlassCredentials({self.username!r})'


def read_credentials(path: Path) -> BreakGlassCredentials | None:
    """Return the credentials in a file, or None if the file does not exist. Raises ValueError if the file is malformed,
    and OSError if it cannot be read. Blocking."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=BreakGlassCredentials)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not valid: {error}') from None
