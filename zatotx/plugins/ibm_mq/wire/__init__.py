"""Codecs of IBM MQ messages, which convert bytes to values and values to bytes. They perform no I/O, and do not need
the client library."""
