"""The TypeScript client, packed and installed as its users install it, at a real server."""
