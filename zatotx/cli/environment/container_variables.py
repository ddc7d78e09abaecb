"""The environment variables from which `zatotx run` creates components. The value of a variable is in ZATOTX_NAME, or
in a file whose path is in ZATOTX_NAME_FILE, because containers mount secrets as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field

from zatotx.cli.errors import CommandError

PREFIX, FILE_SUFFIX = 'ZATOTX_', '_FILE'


@define
class ContainerVariables:
    """Reads environment variables, and collects all errors. `environ` is the environment of the process."""

    environ: Mapping[str, str]
    errors: list[str] = field(factory=list)

    def text(self, name: str, default: str = '') -> str:
        """Return the value of a variable without surrounding space, or the default."""
        variable = PREFIX + name
        file = self.environ.get(variable + FILE_SUFFIX, '')
        if not file:
            return self.environ.get(variable, '').strip() or default
        if self.environ.get(variable):
            self.errors.append(f'{variable} and {variable}{FILE_SUFFIX} are both set: remove one')
        try:
            return Path(file).read_text('utf-8').strip() or default
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
            self.errors.append(f'{variable}{FILE_SUFFIX}: {file} cannot be read ({reason})')
            return default

    def required(self, name: str, purpose: str) -> str:
        """Return the value of a variable, '' with an error if there is none."""
        found = self.text(name)
        if not found and not any(error.startswith(PREFIX + name) for error in self.errors):
            self.errors.append(f'{PREFIX}{name} is missing: {purpose}')
        return found

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number from 1 to `most`."""
        found = self.text(name, str(default))
        if found.isdecimal() and 1 <= int(found) <= most:
            return int(found)
        self.errors.append(f'{PREFIX}{name} must be 1 to {most}, not {found!r}')
        return default

    def items(self, name: str) -> list[str]:
        """Return the values of a comma-separated list."""
        return [item.strip() for item in self.text(name).split(',') if item.strip()]

    def address(self, name: str, default: str) -> tuple[str, int]:
        """Return the host and the port of an address HOST:PORT; brackets enclose an IPv6 address."""
        found = self.text(name, default)
        return self.parse_address(name, found) or ('', 0)

    def parse_address(self, name: str, text: str) -> tuple[str, int] | None:
        """Return the host and the port of one address, None with an error if it is not HOST:PORT."""
        try:
            parts = urlsplit(f'//{text}')
            if parts.hostname and parts.port and parts.netloc == text and '@' not in text and '"' not in text:
                return parts.hostname, parts.port
        except ValueError:
            pass  # the port is no number, or out of range
        self.errors.append(f'{PREFIX}{name}: {text!r} is not HOST:PORT, such as 0.0.0.0:17010')
        return None

    def raise_errors(self) -> None:
        """Raise CommandError with all errors."""
        if self.errors:
            raise CommandError('; '.join(self.errors) + '.')
