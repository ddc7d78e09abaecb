"""HTTP/1.1 as a client: `Client.send(Outbound)` gives a Deferred of an `Answer`. Its shapes are in `call`."""
