"""The configuration files of a load balancer: lb.toml, and a copy of the last active configuration."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from zatotx.lb.config.model import Configuration
from zatotx.lb.config.parser import parse_configuration
from zatotx.model.errors import StartError
from zatotx.system.atomic_file import write_file

CONFIG_FILE = 'config/lb.toml'
LAST_GOOD_FILE = 'work/last-good-lb.toml'


@frozen
class ConfigurationFiles:
    """Reads and writes the configuration files in a load balancer's directory. The methods block while these small
    files are read."""

    directory: Path

    _log = Logger()

    @property
    def path(self) -> Path:
        """The path of lb.toml."""
        return self.directory / CONFIG_FILE

    def read(self) -> str:
        """Return the text of lb.toml. Raises OSError, or ValueError if it is not UTF-8 text."""
        return self.path.read_text('utf-8')

    def write(self, source: str) -> None:
        """Replace lb.toml atomically. Raises OSError."""
        write_file(self.path, source.encode())

    def keep(self, source: str) -> None:
        """Keep the text of the configuration that is in force now. Errors are logged."""
        try:
            (self.directory / LAST_GOOD_FILE).parent.mkdir(mode=0o700, exist_ok=True)
            write_file(self.directory / LAST_GOOD_FILE, source.encode())
        except OSError as error:
            self._log.error('The configuration in force cannot be saved: {why}', why=str(error))

    def load(self) -> tuple[Configuration, str]:
        """Return the configuration to start with, and its text: lb.toml, or the last one that was in force if lb.toml
        has errors, which are logged then. Raises StartError that names all errors."""
        try:
            source = self.read()
        except FileNotFoundError:
            raise StartError(f'{self.path} is missing: is {self.directory} a load balancer?') from None
        except (OSError, ValueError) as error:
            raise StartError(f'{self.path} cannot be read: {error}') from None
        configuration, errors = parse_configuration(source, self.directory)
        if configuration is not None:
            return configuration, source
        sentence = f'{self.path}: {" ".join(errors)}'
        found = self._load_last_good()
        if found is None:
            raise StartError(sentence)
        self._log.critical('{errors} The load balancer starts with the last valid configuration, {file}',
                           errors=sentence, file=str(self.directory / LAST_GOOD_FILE))
        return found

    def read_kept(self) -> str:
        """Return the text of the configuration in force. Raises OSError."""
        return (self.directory / LAST_GOOD_FILE).read_text('utf-8')

    def load_kept(self) -> tuple[Configuration, str]:
        """Return the configuration in force and its text, as its parent process has kept it. Raises StartError."""
        return self._load_last_good() or self.load()

    def _load_last_good(self) -> tuple[Configuration, str] | None:
        try:
            source = (self.directory / LAST_GOOD_FILE).read_text('utf-8')
        except (OSError, ValueError):
            return None
        configuration, _ = parse_configuration(source, self.directory)
        return None if configuration is None else (configuration, source)
