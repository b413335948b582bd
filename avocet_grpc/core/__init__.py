"""The product: what a decision, an import, an export mean. No gRPC, no SQL, no file."""
