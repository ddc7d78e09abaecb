"""Input and output of services: declarations, sources of input, conversion, validation and schemas."""
