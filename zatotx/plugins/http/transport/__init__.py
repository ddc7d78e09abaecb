"""Writing to sockets, for the server and the client."""
