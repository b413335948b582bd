"""Files that a replacement displaced: other programs may still write to them."""
