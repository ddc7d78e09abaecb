"""Object types that are declared as msgspec Structs, and the code that derives validation, documentation and references
from the declarations. The package uses no Twisted and performs no I/O.
"""
