"""HTTP in front of the service: the legacy interface and the browser's bridge, as processes beside a real server."""
