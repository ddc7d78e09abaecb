"""The layout of an environment on disk: its components, their files and ports, and the credentials of its users."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zatotx.cli.environment.component_types import SERVER, TYPES, ComponentType
from zatotx.cli.errors import CommandError

INFO_FILE = '.zato-info'
CREDENTIALS = 'credentials.toml'


class Component(NamedTuple):
    """A component of an environment: a directory with its own process."""

    kind: str  # the name of its ComponentType: SERVER, REDIS …
    path: Path  # absolute

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def type(self) -> ComponentType:
        return TYPES[self.kind]

    @property
    def plugin(self) -> str:
        """The name of the component's twistd plugin."""
        return self.type.plugin

    @property
    def settings_path(self) -> Path:
        """The file with its settings."""
        return self.path / self.type.settings_file

    @property
    def pid_file(self) -> Path:
        return self.path / f'{self.kind.lower()}.pid'

    @property
    def stderr_log(self) -> Path:
        return self.path / 'logs' / 'stderr.log'


class Environment(NamedTuple):
    """An environment, and those of its components that the argument PATH selects."""

    environment: Path
    components: tuple[Component, ...]  # all components, or the one that PATH names
    is_complete: bool

    @property
    def servers(self) -> list[Component]:
        return [part for part in self.components if part.kind == SERVER]

    @property
    def nodes(self) -> list[Component]:
        """The components that run services."""
        return [part for part in self.components if part.type.is_node]


def find_environment(path: str) -> Environment:
    """Return the environment or component at `path`. Raises CommandError if `path` contains neither."""
    directory = Path(path).absolute()
    if (directory / CREDENTIALS).is_file():
        return Environment(directory, components_of(directory), is_complete=True)
    if (directory / INFO_FILE).is_file():
        return Environment(directory.parent, (read_component(directory),), is_complete=False)
    if not directory.exists():
        raise CommandError(f"{path} does not exist: create an environment with 'zatotx quickstart create {path}'.")
    raise CommandError(
        f'{path} is neither an environment (it has no {CREDENTIALS}) nor a component of one (no {INFO_FILE}).'
    )


def components_of(environment: Path) -> tuple[Component, ...]:
    """Return the components of an environment in start order. Servers are ordered by number."""
    found = [read_component(info.parent) for info in environment.glob(f'*/{INFO_FILE}')]
    return tuple(sorted(found, key=lambda part: (part.type.start_order, len(part.name), part.name)))


def read_component(directory: Path) -> Component:
    kind = read_info(directory).get('component')
    if kind not in TYPES:
        raise CommandError(
            f'{directory / INFO_FILE} names no known component: it must contain one of {", ".join(TYPES)}.'
        )
    return Component(str(kind), directory)


def read_info(directory: Path) -> dict[str, Any]:
    """Return the contents of `.zato-info`: version, created_user_host, created_ts, component."""
    try:
        info = json.loads((directory / INFO_FILE).read_text())
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise CommandError(f'{directory / INFO_FILE} is not the JSON object that quickstart created: restore it.')
    return info


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file. Raises CommandError, whose message contains the line of the error."""
    try:
        with path.open('rb') as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f'{path} is not valid TOML: {error}.') from None


class UnresolvedSetting(str):
    """The original text of a setting with a reference that cannot be resolved. `reason` is the error."""

    reason: str


def read_settings(part: Component) -> dict[str, Any]:
    """Return the settings of a component. References are replaced with their values, or with UnresolvedSetting if they
    cannot be resolved."""
    from zatotx.node.settings import resolve_references

    file = part.settings_path
    found, unresolved = resolve_references(read_toml(file), file.parent)
    for environment, text in unresolved:
        section, _, key = environment.partition('.')
        value = UnresolvedSetting(environment)
        value.reason = f'{file}: {environment}: {text}.'
        if key:
            found[section][key] = value
    return found


def get_setting(values: Mapping[str, Any], section: str, key: str, default: Any) -> Any:
    """Return one value of server.toml. If the value is missing or unusable, return the default. Raises CommandError for
    a reference that cannot be resolved."""
    found = values.get(section, {})
    value = found.get(key, default) if isinstance(found, Mapping) else default
    if isinstance(value, UnresolvedSetting):
        raise CommandError(value.reason)
    if isinstance(value, str) and isinstance(default, int | float):  # values from the environment are text
        value = parse_number(value, default)
    return value if isinstance(value, type(default)) else default


def parse_number(text: str, default: float) -> float:
    """Convert the text of a resolved reference to a number, as the server does."""
    try:
        return type(default)(text)
    except ValueError:
        return default


def cluster_name(environment: Environment) -> str:
    """Return the cluster name in the settings of the first server, or '' if the environment has no servers."""
    for part in components_of(environment.environment):
        if part.kind == SERVER:
            return str(get_setting(read_settings(part), 'main', 'cluster', ''))
    return ''


class UserCredentials(NamedTuple):
    username: str
    password: str


def read_credentials(environment: Path, section: str) -> UserCredentials:
    """Return the user in one section of credentials.toml, such as 'api'."""
    path = environment / CREDENTIALS
    found = read_toml(path).get(section)
    if not isinstance(found, dict) or not {'username', 'password'} <= found.keys():
        raise CommandError(f'{path} has no [{section}] with username and password.')
    return UserCredentials(str(found['username']), str(found['password']))
