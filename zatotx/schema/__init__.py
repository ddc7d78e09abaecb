"""Object types as msgspec Structs, and everything that is derived from them. Pure: no Twisted, no I/O."""
