"""The template of the section [http] of server.toml, which quickstart writes. `{port}` is replaced with the server's
port, and `{proxies}` with the addresses of trusted proxies.
"""

HTTP = """\
[http]
# Twisted endpoint descriptions. With TLS: "ssl:port=8443:interface=0.0.0.0:privateKey=key.pem:certKey=cert.pem"
listen = ["tcp:port={port}:interface=127.0.0.1"]
# head_timeout = 10      seconds to receive the head of a request
# body_timeout = 30      seconds without progress in the body of a request
# idle_timeout = 60      seconds that a keep-alive connection may be idle
# write_timeout = 60     seconds until an unread response closes the connection
# max_head = 32768       bytes; also max_fields = 100, max_field = 8190, max_target = 8192
# max_body = 20971520    bytes; bodies above spool_above = 1048576 are stored in work/
# openapi = "basic"      access to /zato/openapi.json: "basic" = admin.invoke only, "open" = everyone, "off" = disabled
# docs = true            whether to serve the page /zato/docs
# public_url = ""        URL at which clients reach the cluster, "https://api.example.com", for WSDL and OpenAPI
# Addresses and networks of proxies whose X-Forwarded-… and Forwarded headers are trusted:
trusted_proxies = {proxies}
# client_cert = false    whether these proxies pass client certificates on, in Client-Cert (RFC 9440), for mutual TLS
"""
