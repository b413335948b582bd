"""Client of the Avocet corrections service; the typed stubs are in `avocet_client.v1`."""
