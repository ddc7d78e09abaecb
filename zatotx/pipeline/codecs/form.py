"""Codecs of HTML forms."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message
from zatotx.pipeline.codecs.json import CHECK_THRESHOLD, JsonCodec
from zatotx.pipeline.codecs.raw import RawCodec
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageLimits
from zatotx.wire.http import form
from zatotx.wire.json.limits import estimate_memory


@implementer(ICodec)
class FormCodec(RawCodec):
    """Decodes application/x-www-form-urlencoded; encodes replies as JSON."""

    text_type = b''

    def __init__(self, budget: MessageLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self.check_threshold = CHECK_THRESHOLD

    def check_size(self, body: bytes) -> None:
        """See ICodec. The number of fields is checked while decoding."""

    def estimate_memory(self, body: bytes) -> int:
        return estimate_memory(body)

    def decode(self, message: Message) -> object:
        """Return a dict of field name -> text, or a list of texts for repeated fields. Raises BadRequest."""
        try:
            # The pipeline has read spooled bodies into memory.
            return form.decode_form(message.body, self._budget.form_fields)  # type: ignore[arg-type]
        except form.Malformed as error:
            raise BadRequest(message.cid, f'Malformed form: {error}') from None


@implementer(ICodec)
class NamedFormCodec(FormCodec):
    """Decodes bodies sent to a JSON channel with the content type of a form: forms or, by their content, JSON."""

    def __init__(self, budget: MessageLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self._json = JsonCodec(budget)
        self.check_threshold = self._json.check_threshold

    def check_size(self, body: bytes) -> None:
        if form.looks_like_json(body):
            self._json.check_size(body)

    def decode(self, message: Message) -> object:
        """Decode a form or JSON, whichever the body is. Raises BadRequest."""
        if form.looks_like_json(message.body):  # type: ignore[arg-type]
            return self._json.decode(message)
        return super().decode(message)
