"""The other programs' files that the core reads: benchmark runs and the config file."""
