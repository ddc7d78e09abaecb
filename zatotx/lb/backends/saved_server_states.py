"""Saves the administrative states that were set through the agent in a file beside lb.toml, so that they survive a
restart and an upgrade.

A state is in force until it is set again, or lb.toml gives the server another one. So each entry also has the state
that lb.toml gave the server at that time.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from attrs import define, field
from twisted.logger import Logger

from zatotx.lb.config.model import AdministrativeState, Configuration
from zatotx.system.atomic_file import write_file

STATES_FILE = 'config/server-states.json'


class SavedServerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The saved administrative state of one server."""

    state: AdministrativeState
    configured: AdministrativeState  # by lb.toml


_States = dict[str, dict[str, SavedServerState]]  # by backend and server
_decoder = msgspec.json.Decoder(_States)


@define(eq=False)
class SavedServerStates:
    """The saved administrative states. The file is read when the first state is looked up, and is written atomically
    with each change."""

    _directory: Path
    _states: _States | None = field(default=None, init=False)

    _log = Logger()

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._directory / STATES_FILE

    def find(self, backend: str, server: str, configured: AdministrativeState) -> AdministrativeState:
        """Return the state with which a server starts: the one that was set, or the one of lb.toml."""
        saved = self._load().get(backend, {}).get(server)
        return configured if saved is None or saved.configured != configured else saved.state

    def save(self, backend: str, server: str, state: AdministrativeState, configured: AdministrativeState) -> None:
        """Save the state of a server. Raises OSError; then nothing has changed."""
        states = {name: dict(servers) for name, servers in self._load().items()}
        servers = states.setdefault(backend, {})
        if state == configured:
            servers.pop(server, None)
        else:
            servers[server] = SavedServerState(state, configured)
        self._replace({name: servers for name, servers in states.items() if servers})

    def rename(self, backend: str, old: str, new: str) -> None:
        """Move the state of a server to its new name. An error is logged, and the state is lost with the next start."""
        states = {name: dict(servers) for name, servers in self._load().items()}
        servers = states.get(backend, {})
        servers.pop(new, None)  # of a former server of that name
        if old in servers:
            servers[new] = servers.pop(old)
        if states != self._load():
            self._states = states
            try:
                self._replace({name: servers for name, servers in states.items() if servers})
            except OSError as error:
                self._log.error('{path} cannot be written: {why}', path=str(self.path), why=str(error))

    def forget_changed(self, configuration: Configuration) -> None:
        """Forget the states of servers that lb.toml gives another one now. Errors are logged. Servers that are not in
        the configuration are kept: they may be discovered again."""
        kept: _States = {}
        for backend, servers in self._load().items():
            config = configuration.backends.get(backend)
            found = config.servers if config is not None else {}
            left = {name: saved for name, saved in servers.items()
                    if name not in found or found[name].state == saved.configured}  # fmt: skip
            if left:
                kept[backend] = left
        if kept != self._load():
            try:
                self._replace(kept)
            except OSError as error:
                self._log.error('{path} cannot be written: {why}', path=str(self.path), why=str(error))

    def _replace(self, states: _States) -> None:
        write_file(self.path, msgspec.json.format(msgspec.json.encode(states)) + b'\n')
        self._states = states

    def _load(self) -> _States:
        if self._states is None:
            try:
                self._states = _decoder.decode(self.path.read_bytes())
            except FileNotFoundError:
                self._states = {}
            except (OSError, msgspec.DecodeError) as error:
                self._log.error('{path} cannot be read, so all servers have the states of lb.toml: {why}',
                                path=str(self.path), why=str(error))
                self._states = {}
        return self._states
