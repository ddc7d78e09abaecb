"""SOAP over HTTP: the codec and the faults of SOAP channels, and outgoing SOAP connections."""
