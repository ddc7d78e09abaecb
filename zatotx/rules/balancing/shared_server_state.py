"""Encodes the state of a server as one integer, which the parent process writes to shared memory for its workers. Pure
functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

AdminState = Literal['ready', 'drain', 'maint']

_STATES: tuple[AdminState, ...] = ('ready', 'drain', 'maint')
_KNOWN, _DOWN = 1, 2  # bits; the administrative state takes the next two, the rest counts good probes
_STATE_SHIFT, _PROBE_SHIFT = 2, 4
_PROBE_MASK = (1 << 20) - 1


class SharedServerState(NamedTuple):
    """The state of a backend server, as determined by the parent process."""

    is_down: bool
    admin_state: AdminState
    good_probes: int  # a counter that wraps around: any change means that a probe has succeeded


def encode_server_state(state: SharedServerState) -> int:
    """Encode a server state as a positive integer of at most 25 bits."""
    return (_KNOWN | (_DOWN if state.is_down else 0) | _STATES.index(state.admin_state) << _STATE_SHIFT
            | (state.good_probes & _PROBE_MASK) << _PROBE_SHIFT)  # fmt: skip


def decode_server_state(code: int) -> SharedServerState | None:
    """Decode a server state; return None for 0, which means that no state was written yet."""
    if not code & _KNOWN:
        return None
    return SharedServerState(bool(code & _DOWN), _STATES[code >> _STATE_SHIFT & 3], code >> _PROBE_SHIFT & _PROBE_MASK)
