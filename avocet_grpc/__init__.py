"""The Avocet corrections service."""

__version__ = "0.1.0"
