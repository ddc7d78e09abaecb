"""Codecs of data formats, one per module. The `registry` selects the codec that decodes a message and encodes the
reply.
"""

from __future__ import annotations

from zatotx.pipeline.codecs.data_formats import JsonCodec, RawCodec, XmlCodec
from zatotx.pipeline.codecs.forms import FormCodec, NamedFormCodec
from zatotx.pipeline.codecs.registry import CodecRegistry

__all__ = ['CodecRegistry', 'FormCodec', 'JsonCodec', 'NamedFormCodec', 'RawCodec', 'XmlCodec']
