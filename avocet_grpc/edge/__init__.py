"""gRPC and the wire messages."""
