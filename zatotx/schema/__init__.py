"""Object types declared as msgspec Structs, and everything derived from them: validation, documentation, references. No
Twisted, no I/O.
"""
