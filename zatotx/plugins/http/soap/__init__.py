"""SOAP over HTTP: the codec and the faults of channels, and outgoing connections."""
