"""SOAP over HTTP: routing, codec and faults of channels; outgoing connections."""
