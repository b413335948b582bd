"""What changed in the ledger, on its way to a shared file."""
