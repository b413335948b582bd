"""What the core asks of its surroundings, as protocols: the ledger, the benchmark runs, the config file."""
