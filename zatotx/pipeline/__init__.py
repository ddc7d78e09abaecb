"""The pipeline that every message passes, whatever its protocol: authentication, decoding, invocation, encoding."""
