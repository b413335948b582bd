"""Tests of the Avocet corrections service."""
