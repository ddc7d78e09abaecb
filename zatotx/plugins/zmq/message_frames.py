"""Assembles and splits the frames of ZeroMQ messages. The frames are envelopes, which route a reply to its client,
subscription prefixes, and message bodies. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen

from zatotx.plugins.zmq.schema import JOIN, REP, ROUTER

DELIMITER = b''
_MAX_REQUEST_ID = 255  # bytes of a frame before the delimiter that counts as part of the envelope of ROUTER
_FRAME_HEADER = 'x-zmq-frame-'


class InvalidFrames(ValueError):  # noqa: N818 - the word says it
    """The frames of a message do not have the form that the socket type requires."""


@frozen
class ReceivedFrames:
    """The frames of a received message. `envelope` has the frames before the content, which route the reply to the
    client; `envelope` is () for socket types that do not reply."""

    envelope: Sequence[bytes]
    content: Sequence[bytes]


def split_envelope(socket_type: str, frames: Sequence[bytes]) -> ReceivedFrames:
    """Split the frames of a message into envelope and content. Both ROUTER and REP channels use a ROUTER socket, which
    prepends the identity of the client.

    REP: the envelope ends with the first empty frame (RFC 28). ROUTER: the same where that is the second or third
    frame, as clients with REQ sockets send it; otherwise the envelope is the identity. Raises InvalidFrames.
    """
    if socket_type not in (ROUTER, REP):
        return ReceivedFrames((), frames)
    last = len(frames) - 1
    if socket_type == ROUTER:
        end = next((at for at in (1, 2) if at < last and frames[at] == DELIMITER
                    and all(len(frame) <= _MAX_REQUEST_ID for frame in frames[1:at])), 0)  # fmt: skip
    else:
        end = next((at for at in range(1, last) if frames[at] == DELIMITER), 0)
        if not end:
            raise InvalidFrames('it has no empty frame before its content, as REQ sockets send it')
    if end == last:
        raise InvalidFrames('it has no content')
    return ReceivedFrames(frames[: end + 1], frames[end + 1 :])


def strip_prefix(frames: Sequence[bytes], prefixes: Sequence[bytes]) -> Sequence[bytes]:
    """Remove the longest subscription prefix with which the first frame begins. If the first frame is only the prefix
    and other frames follow, it is omitted."""
    first = frames[0]
    length = max((len(prefix) for prefix in prefixes if first.startswith(prefix)), default=0)
    rest = first[length:]
    return frames[1:] if length and not rest and len(frames) > 1 else (rest, *frames[1:])


def make_body(frames: Sequence[bytes], multipart: str) -> tuple[bytes, Mapping[bytes, bytes]]:
    """Return the body of a message and its headers. `multipart` is LAST or JOIN."""
    if len(frames) == 1:
        return frames[0], {}
    if multipart == JOIN:
        return b''.join(frames), {}
    headers = {f'{_FRAME_HEADER}{index}'.encode(): frame for index, frame in enumerate(frames[:-1])}
    return frames[-1], headers


def to_frames(message: Any) -> list[bytes]:
    """Convert the message that a service sends to frames: text and bytes are one frame, a list of them is a message
    with several frames, and a dict is encoded as JSON. Raises TypeError and ValueError."""
    if isinstance(message, list | tuple):
        if not message:
            raise ValueError('a message of ZeroMQ has at least one frame')
        return [_to_frame(frame) for frame in message]
    if isinstance(message, dict):
        return [msgspec.json.encode(message)]
    return [_to_frame(message)]


def from_frames(frames: Sequence[bytes]) -> bytes | list[bytes]:
    """Convert the frames of a reply to the value that a service receives: bytes, or a list if there are several
    frames."""
    return frames[0] if len(frames) == 1 else list(frames)


def _to_frame(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode('utf-8')
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f'a message is text, bytes, a list of them, or a dict, which is sent as JSON; not '
                    f'{type(value).__name__}')  # fmt: skip


