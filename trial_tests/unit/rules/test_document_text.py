"""The JSON text of an enmasse document."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.enmasse.document_text import decode_document


class DocumentTextTests(SynchronousTestCase):
    def test_values(self) -> None:
        """The value is that of the text, whether it is a document or not."""
        for text in ('{}', '[]', '[{"a": 1}]', '3', 'null', '"{}"', '{"a": null, "b": {"c": [1]}, "d": []}',
                     '{"channel_rest": [{"name": "ü\\u00e4\\n"}, 1, "x", [2]], "security": [{"a": {"b": [null]}}]}',
                     '{"a": [1], "a": [2]}'):  # fmt: skip
            self.assertEqual(decode_document(text), msgspec.json.decode(text), text)

    def test_invalid_text(self) -> None:
        """What is not JSON is an error, wherever it stands."""
        for text in ('', '{', '{"a": [1,]}', '{"a": [{"b": "\\q"}]}', '{"a": [{"b": }]}', '{"a": 1}x', '{"a": [1] 2}'):
            self.assertRaises(msgspec.DecodeError, decode_document, text)

    def test_other_threads_get_their_turn(self) -> None:
        """No call of msgspec decodes more than one object, because each call holds the interpreter lock until it
        returns."""
        calls: list[Any] = []

        def profile(frame: FrameType, event: str, argument: Any) -> None:
            if event == 'c_call' and argument.__name__ == 'decode':
                calls.append(argument)

        text = msgspec.json.encode({'security': [{'name': str(number)} for number in range(1000)]}).decode()
        sys.setprofile(profile)
        try:
            document: Any = decode_document(text)
        finally:
            sys.setprofile(None)
        self.assertEqual((len(document['security']), len(calls)), (1000, 1 + 1 + 1000))
