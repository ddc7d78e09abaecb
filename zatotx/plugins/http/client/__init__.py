"""The HTTP/1.1 client: `Client.send(HttpRequest)` returns a Deferred of an `HttpResponse`. The data types are in
`call`.
"""
