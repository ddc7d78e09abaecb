"""Messages, principals and faults: the values every floor speaks of. No Twisted, no I/O."""
