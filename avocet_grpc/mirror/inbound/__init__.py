"""What other programs did to a shared file, on its way to the ledger."""
