"""What the service tells of itself: logs, metrics, and the named crash points of the tests."""
