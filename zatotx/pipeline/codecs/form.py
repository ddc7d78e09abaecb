"""HTML forms."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message
from zatotx.pipeline.codecs.json import WEIGHTLESS, JsonCodec
from zatotx.pipeline.codecs.raw import RawCodec
from zatotx.rules.limits.limits import USUAL, MessageBudget
from zatotx.wire.http import form
from zatotx.wire.json.budget import value_size


@implementer(ICodec)
class FormCodec(RawCodec):
    """application/x-www-form-urlencoded in, JSON out."""

    text_type = b''

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        super().__init__(budget)
        self.weightless = WEIGHTLESS

    def weigh(self, body: bytes) -> None:
        """See ICodec: what a form holds is found where it is decoded."""

    def footprint(self, body: bytes) -> int:
        return value_size(body)

    def decode(self, inbound: Message) -> object:
        """Field name -> text, or a list of texts where it is repeated. Raises BadRequest."""
        try:
            return form.decode_form(inbound.body, self._budget.form_fields)  # type: ignore[arg-type]  # read back as above
        except form.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed form: {error}') from None


@implementer(ICodec)
class NamedFormCodec(FormCodec):
    """What a JSON channel is sent under the name of a form: a form, or JSON all the same. The body says which."""

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        super().__init__(budget)
        self._json = JsonCodec(budget)
        self.weightless = self._json.weightless

    def weigh(self, body: bytes) -> None:
        if form.is_json_instead(body):
            self._json.weigh(body)

    def decode(self, inbound: Message) -> object:
        """As the one or the other. Raises BadRequest."""
        if form.is_json_instead(inbound.body):  # type: ignore[arg-type]  # read back as above
            return self._json.decode(inbound)
        return super().decode(inbound)
