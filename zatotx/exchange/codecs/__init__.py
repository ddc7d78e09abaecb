"""Data formats: one codec a file; `choose.py` says which one reads a message and writes its answer."""

from __future__ import annotations

from zatotx.exchange.codecs.choose import Codecs
from zatotx.exchange.codecs.form import CalledForm, FormCodec
from zatotx.exchange.codecs.json import JsonCodec
from zatotx.exchange.codecs.raw import RawCodec
from zatotx.exchange.codecs.xml import XmlCodec

__all__ = ['CalledForm', 'Codecs', 'FormCodec', 'JsonCodec', 'RawCodec', 'XmlCodec']
