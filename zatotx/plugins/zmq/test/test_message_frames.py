"""Frames of messages: envelopes, prefixes, bodies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.zmq.message_frames import (
    InvalidFrames,
    from_frames,
    make_body,
    split_envelope,
    strip_prefix,
    to_frames,
)
from zatotx.plugins.zmq.schema import JOIN, LAST, PULL, REP, ROUTER


class EnvelopeTests(SynchronousTestCase):
    def split(self, socket_type: str, *frames: bytes) -> tuple[list[bytes], list[bytes]]:
        found = split_envelope(socket_type, frames)
        return list(found.envelope), list(found.content)

    def test_no_envelope(self) -> None:
        """Sockets that do not reply have no envelope, whatever the frames."""
        self.assertEqual(self.split(PULL, b'', b'x'), ([], [b'', b'x']))

    def test_rep(self) -> None:
        """The envelope of REP ends with the first empty frame, whatever came before it and comes after it."""
        self.assertEqual(self.split(REP, b'id', b'', b'x', b'', b'y'), ([b'id', b''], [b'x', b'', b'y']))
        self.assertEqual(self.split(REP, b'id', b'proxy', b'req', b'', b'x'), ([b'id', b'proxy', b'req', b''], [b'x']))

    def test_router(self) -> None:
        """ROUTER knows the envelopes of REQ clients; other clients have none but their identity."""
        self.assertEqual(self.split(ROUTER, b'id', b'x'), ([b'id'], [b'x']))
        self.assertEqual(self.split(ROUTER, b'id', b'', b'x'), ([b'id', b''], [b'x']))
        self.assertEqual(self.split(ROUTER, b'id', b'req', b'', b'x'), ([b'id', b'req', b''], [b'x']))
        self.assertEqual(self.split(ROUTER, b'id', b'a', b'b', b'', b'x'), ([b'id'], [b'a', b'b', b'', b'x']))
        self.assertEqual(self.split(ROUTER, b'id', b'a' * 256, b'', b'x'), ([b'id'], [b'a' * 256, b'', b'x']))
        self.assertEqual(self.split(ROUTER, b'id', b'x', b''), ([b'id'], [b'x', b'']))

    def test_invalid(self) -> None:
        """Messages without the envelope of REP, and those without content."""
        for socket_type, frames in ((REP, (b'id', b'x')), (REP, (b'id', b'')), (REP, (b'id',)), (ROUTER, (b'id',))):
            self.assertRaises(InvalidFrames, split_envelope, socket_type, frames)


class ContentTests(SynchronousTestCase):
    def test_prefix(self) -> None:
        """The longest prefix is removed; a frame that was only the prefix goes where others follow."""
        for frames, prefixes, expected in (
            ([b'ab.x'], [b'a', b'ab.'], [b'x']),
            ([b'x'], [b'a'], [b'x']),
            ([b'a', b'x'], [b'a'], [b'x']),
            ([b'a'], [b'a'], [b'']),
            ([b'', b'x'], [b''], [b'', b'x']),
            ([b'ab', b'x'], [b'a'], [b'b', b'x']),
        ):
            self.assertEqual(list(strip_prefix(frames, prefixes)), expected)

    def test_body(self) -> None:
        """One frame is the body; of several, the last one, with the others as headers, or all together."""
        self.assertEqual(make_body([b'x'], LAST), (b'x', {}))
        self.assertEqual(make_body([b'a', b'b', b'c'], LAST), (b'c', {b'x-zmq-frame-0': b'a', b'x-zmq-frame-1': b'b'}))
        self.assertEqual(make_body([b'a', b'b'], JOIN), (b'ab', {}))

    def test_to_frames(self) -> None:
        """Text is UTF-8, lists are frames, dicts are JSON."""
        self.assertEqual(to_frames('ä'), [b'\xc3\xa4'])
        self.assertEqual(to_frames((b'a', 'b', bytearray(b'c'))), [b'a', b'b', b'c'])
        self.assertEqual(to_frames({'a': [1, None]}), [b'{"a":[1,null]}'])
        for wrong in (None, 1, ['a', 1], [{'a': 1}]):
            self.assertRaises(TypeError, to_frames, wrong)

    def test_from_frames(self) -> None:
        """A reply of one frame is its bytes."""
        self.assertEqual((from_frames([b'a']), from_frames([b'a', b'b'])), (b'a', [b'a', b'b']))
