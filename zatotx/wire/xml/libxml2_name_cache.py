"""Limits the memory of the name caches that libxml2 keeps in each thread.

lxml gives all documents parsed in one thread a common dictionary of names (libxml2's xmlDict), which only grows:
clients that send ever different element names consume memory that is never freed. So the thread gets a new dictionary
after every few megabytes. A document keeps the dictionary it was parsed with.

lxml has no function for this. A thread that ends releases its dictionary, but parsing every document in a new thread
costs five times as much for small ones. Therefore this removes lxml's entry from the thread state. Its name is an
implementation detail: `is_name_release_supported` checks that it is still correct as soon as lxml is loaded, a test
does too, and setup.cfg lists the supported versions of lxml.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

RELEASE_AFTER = 8 * 1024 * 1024  # bytes of documents
_DICTIONARY_KEY = '_ParserDictionaryContext'  # lxml's key in the thread state (parser.pxi)

_thread_state = ctypes.pythonapi.PyThreadState_GetDict
_thread_state.restype = ctypes.c_void_p  # a borrowed reference, which ctypes must not release


class _ParsedBytes(threading.local):
    size = 0  # bytes since the dictionary was created


_parsed_bytes = _ParsedBytes()


def count_parsed_document(size: int) -> None:
    """Record that a document of `size` bytes was parsed in this thread, and release the cached names when necessary."""
    _parsed_bytes.size += size
    if _parsed_bytes.size > RELEASE_AFTER:
        _parsed_bytes.size = 0
        release_names()


def release_names() -> bool:
    """Release the names cached for this thread, and return whether there were any."""
    thread_state: dict[str, Any] = ctypes.cast(_thread_state(), ctypes.py_object).value
    return thread_state.pop(_DICTIONARY_KEY, None) is not None


def is_name_release_supported() -> bool:
    """Return whether `release_names` works with the installed version of lxml, by parsing a document and checking that
    its names are found. Imports lxml."""
    from lxml import etree

    etree.fromstring(b'<a/>', etree.XMLParser())
    return release_names()


class _Check:
    """Whether names can be released; True until lxml is loaded."""

    supported = True
    report: Callable[[], None] | None = None


_check = _Check()


def set_unsupported_callback(report: Callable[[], None]) -> None:
    """Set the callback that is called, in any thread, if the installed version of lxml does not allow its cached names
    to be released."""
    _check.report = report


def check_name_release() -> None:
    """Check whether names can be released with the loaded version of lxml. The function is called once, when lxml is
    loaded."""
    _check.supported = is_name_release_supported()
    if not _check.supported and _check.report is not None:
        _check.report()


def is_release_supported_if_loaded() -> bool:
    """Return the result of `check`, or True if lxml is not loaded."""
    return _check.supported
