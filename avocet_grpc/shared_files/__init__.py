"""The two JSONL files that other programs share with us: the only room that knows them."""
