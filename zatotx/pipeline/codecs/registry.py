"""The registry of codecs, which selects the codec that decodes a message and encodes the reply."""

from __future__ import annotations

from collections.abc import Mapping

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.message import Message
from zatotx.model.work_message import VALUE_FORMAT
from zatotx.pipeline.codecs.data_formats import JsonCodec, PassthroughCodec, RawCodec, XmlCodec
from zatotx.pipeline.codecs.forms import FileCodec, FormCodec, MultipartCodec, NamedFormCodec
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageContentLimits
from zatotx.wire.http.multipart import CONTENT_TYPE

_FORM = b'application/x-www-form-urlencoded'
_JSON = b'application/json'


class CodecRegistry:
    """Selects the codec of a message. `budget` limits the content of one message; `others` are the codecs that
    connector kinds provide."""

    def __init__(
        self, budget: MessageContentLimits = DEFAULT_BUDGET, additional: Mapping[str, ICodec] | None = None
    ) -> None:
        self._json: ICodec = JsonCodec(budget)
        self._raw: ICodec = RawCodec(budget)
        self._form: ICodec = FormCodec(budget)
        self._named_form: ICodec = NamedFormCodec(budget)
        self._multipart: ICodec = MultipartCodec(budget)
        self._may_receive_forms: tuple[ICodec, ...] = (self._json, self._raw, self._form)
        self._by_format = {'file': FileCodec(budget), 'json': self._json, '': self._raw, 'form': self._form,
                           'post': self._form, 'xml': XmlCodec(budget), VALUE_FORMAT: PassthroughCodec(),
                           **(additional or {})}  # fmt: skip

    def select(self, message: Message) -> ICodec:
        """Return the codec for the channel's data format. A form, as browsers send it, is also accepted on JSON
        channels, and a form with files on every channel that does not read XML."""
        codec = self._by_format.get(message.channel.data_format, self._raw)
        content_type = message.headers.get(b'content-type')
        if content_type is None or content_type == _JSON or codec not in self._may_receive_forms:
            return codec
        return self._form_codec(content_type.lower(), codec)

    def _form_codec(self, content_type: bytes, codec: ICodec) -> ICodec:
        if content_type.startswith(CONTENT_TYPE):
            return self._multipart
        return self._named_form if content_type.startswith(_FORM) and codec is self._json else codec
