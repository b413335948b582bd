"""The benchmark: this service, what its users have today, and the floors, in turn in the same run."""
