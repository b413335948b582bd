"""What an operator does to a data directory: lock, back up, verify, rebuild."""
