"""Data formats: one codec each. A new format is one class here (or, later, one more file) and a line in `CODECS`."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.exchange import ICodec
from zatotx.model.faults import BadRequest
from zatotx.model.message import Inbound
from zatotx.rules.limits import Budget
from zatotx.wire import form, json
from zatotx.wire.json_budget import has_more_keys, is_deeper

_BODY_METHODS = frozenset({'POST', 'PUT', 'PATCH'})
_FORM = b'application/x-www-form-urlencoded'
_JSON = b'application/json'
_ANY = 1 << 62  # bytes
USUAL = Budget()


@implementer(ICodec)
class JsonCodec:
    """RFC 8259 JSON both ways."""

    content_type = b'application/json'

    def __init__(self, budget: Budget = USUAL) -> None:
        self._budget = budget
        self._depth = budget.json_depth
        self.weightless = budget.json_keys

    def weigh(self, body: bytes) -> None:
        if has_more_keys(body, self._budget.json_keys):
            raise BadRequest(None, f'The JSON has more than {self._budget.json_keys} keys and elements, the limit here')

    def decode(self, inbound: Inbound) -> object:
        """The value of the body; None where the message brings none. Raises BadRequest for malformed JSON and for one
        that is nested too deeply: an empty body is malformed too, unless the method has none or the input comes in the
        URL."""
        body = inbound.body
        if not body:
            if _brings_body(inbound):
                raise BadRequest(inbound.cid, 'Malformed JSON: the body is empty')
            return None
        assert isinstance(body, bytes)  # the pipeline has read spooled ones back
        try:
            value = json.decode(body)
        except json.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed JSON: {error}') from None
        if len(body) > self._depth and is_deeper(body, value, self._depth):
            raise BadRequest(inbound.cid, f'The JSON is nested more than {self._depth} deep, the limit here')
        return value

    def encode(self, value: object) -> bytes:
        return json.encode(value)

    def fault(self, cid: str, status: int, details: str) -> bytes:
        return json.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})


@implementer(ICodec)
class RawCodec(JsonCodec):
    """No data format: the body is the payload, bytes as they came. Answers that are neither text nor bytes, and
    errors, go out as JSON."""

    def __init__(self, budget: Budget = USUAL) -> None:
        super().__init__(budget)
        self.weightless = _ANY

    def decode(self, inbound: Inbound) -> object:
        return inbound.body


@implementer(ICodec)
class FormCodec(RawCodec):
    """application/x-www-form-urlencoded in, JSON out."""

    def decode(self, inbound: Inbound) -> object:
        """Field name -> text, or a list of texts where it is repeated. Raises BadRequest."""
        try:
            return form.decode(inbound.body, self._budget.form_fields)  # type: ignore[arg-type]  # read back as above
        except form.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed form: {error}') from None


@implementer(ICodec)
class CalledForm(FormCodec):
    """What a JSON channel is sent under the name of a form: a form, or JSON all the same. The body says which."""

    def __init__(self, budget: Budget = USUAL) -> None:
        super().__init__(budget)
        self._json = JsonCodec(budget)
        self.weightless = self._json.weightless

    def weigh(self, body: bytes) -> None:
        if form.is_json_instead(body):
            self._json.weigh(body)

    def decode(self, inbound: Inbound) -> object:
        """As the one or the other. Raises BadRequest."""
        if form.is_json_instead(inbound.body):  # type: ignore[arg-type]  # read back as above
            return self._json.decode(inbound)
        return super().decode(inbound)


class Codecs:
    """Chooses the codec of a message. `budget`: what one message may hold."""

    def __init__(self, budget: Budget = USUAL) -> None:
        self._json: ICodec = JsonCodec(budget)
        self._raw: ICodec = RawCodec(budget)
        self._form: ICodec = FormCodec(budget)
        self._called_form: ICodec = CalledForm(budget)
        self._by_format = {'json': self._json, '': self._raw, 'form': self._form, 'post': self._form}

    def of(self, inbound: Inbound) -> ICodec:
        """By the channel's data format; a form is a form on a JSON channel too, as browsers send it."""
        codec = self._by_format.get(inbound.channel.data_format, self._raw)
        if codec is self._json:
            content_type = inbound.headers.get(b'content-type')
            if content_type is not None and content_type != _JSON and content_type.startswith(_FORM):
                return self._called_form
        return codec


def _brings_body(inbound: Inbound) -> bool:
    """Whether a body must be there: the method has one, and the URL carries no input in its stead."""
    http = inbound.http
    if http is None or inbound.channel.door:
        return False
    return http.method in _BODY_METHODS and not http.query and not http.params
