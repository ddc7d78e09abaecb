"""Object types as msgspec Structs, and what is derived from them: validation, documentation, references. No Twisted, no
I/O."""
