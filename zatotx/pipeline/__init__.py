"""The pipeline that processes every message, independent of the protocol: authentication, decoding, invocation,
encoding.
"""
