"""The messages of the load balancer's agent."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.lb_agent_messages import (
    AgentCallError,
    decode_call,
    decode_response,
    encode_call,
    encode_error,
    encode_result,
)
from zatotx.wire.malformed import Malformed


class MessageTests(SynchronousTestCase):
    def test_calls(self) -> None:
        """Arguments arrive as they were sent; no body means no arguments."""
        arguments = {'name': 'server1', 'port': 1, 'backend': None}
        self.assertEqual(decode_call(encode_call(arguments)), arguments)
        self.assertEqual([decode_call(b''), decode_call(b' \r\n')], [{}, {}])

    def test_malformed_calls(self) -> None:
        """Anything but a JSON object is rejected."""
        for body in (b'[]', b'"x"', b'null', b'{', b'\xff'):
            self.assertRaises(Malformed, decode_call, body)

    def test_results(self) -> None:
        """A result arrives as it was sent, null too."""
        for result in ({'a': [1]}, 'ZATO_OK', True, None):
            self.assertEqual(decode_response(200, encode_result(result)), result)

    def test_errors(self) -> None:
        """An error arrives with its message, its errors and the status."""
        sent = AgentCallError('It is not valid', ('a: missing', 'b: missing'))
        self.assertEqual(json.loads(encode_error(sent)),
                         {'error': {'message': 'It is not valid', 'errors': ['a: missing', 'b: missing']}})  # fmt: skip
        error = self.assertRaises(AgentCallError, decode_response, 409, encode_error(sent))
        self.assertEqual((str(error), error.errors, error.status), ('It is not valid', sent.errors, 409))
        self.assertEqual((sent.status, AgentCallError('x').errors), (400, ()))

    def test_errors_of_other_shapes(self) -> None:
        """An error without a list of errors has none; errors that are no texts become texts."""
        for errors, expected in (('', ()), (', "errors": "x"', ()), (', "errors": [1, null]', ('1', 'None'))):
            body = f'{{"error": {{"message": "no"{errors}}}}}'.encode()
            self.assertEqual(self.assertRaises(AgentCallError, decode_response, 400, body).errors, expected)

    def test_other_programs(self) -> None:
        """What is neither a result nor an error is not the response of an agent."""
        for status, body in ((200, b'{}'), (200, b'[]'), (500, b'{"result": 1}'), (404, b'{"error": "x"}'),
                             (404, b'{"error": {"message": 1}}'), (200, b'<html>'), (200, b'')):  # fmt: skip
            self.assertRaises(Malformed, decode_response, status, body)
