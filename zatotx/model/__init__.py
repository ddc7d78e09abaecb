"""Messages, principals and errors: the value types that all layers share. No Twisted, no I/O."""
