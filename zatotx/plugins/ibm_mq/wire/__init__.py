"""Codecs of IBM MQ messages: bytes to values and back, without I/O and without the client library."""
