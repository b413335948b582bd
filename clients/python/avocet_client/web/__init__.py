"""HTTP beside gRPC, for browsers on this machine; needs `avocet-client[web]`.

Read in this order:

- `guard.py` decides which requests another web page may have forged. The legacy front uses it, too.
- `serving.py` runs an ASGI application on one address until the process is told to stop.
"""
