"""The section [http] of server.toml, as quickstart writes it. `{port}`: where the server listens."""

HTTP = """\
[http]
# Twisted endpoint descriptions. With TLS: "ssl:port=8443:interface=0.0.0.0:privateKey=key.pem:certKey=cert.pem"
listen = ["tcp:port={port}:interface=127.0.0.1"]
# head_timeout = 10      seconds for a request's head
# body_timeout = 30      seconds without progress in a request's body
# idle_timeout = 60      seconds that a kept connection may be idle
# write_timeout = 60     seconds that an answer may stay unread
# max_head = 32768       bytes; also max_fields = 100, max_field = 8190, max_target = 8192
# max_body = 20971520    bytes; from spool_above = 1048576 on a body waits in work/
# openapi = "basic"      who may read /zato/openapi.json: admin.invoke; "open" = everybody, "off" = nobody
# docs = true            whether the page /zato/docs is there
# public_url = ""        where clients reach the cluster, "https://api.example.com": WSDL and OpenAPI tell it
# trusted_proxies = []   addresses and networks of proxies whose X-Forwarded-… and Forwarded fields are read
"""
