"""Messages, principals and errors, which are the value types that all layers share. The package uses no Twisted and
performs no I/O."""
