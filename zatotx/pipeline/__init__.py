"""The pipeline that processes every message, independent of its protocol: authentication, decoding, invocation,
encoding.
"""
