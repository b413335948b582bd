"""HTTP beside gRPC, for browsers on this machine; needs `avocet-client[web]`.

Read in this order:

- `guard.py` decides which requests another web page may have forged. The legacy front uses it, too.
- `frames.py` has gRPC-Web's framing, `bridge.py` forwards calls in it to the service.
- `site.py` puts page and bridge below one secret path, `serve.py` puts both on a port of loopback.
- `serving.py` runs an ASGI application on one address until the process is told to stop.
"""
