"""The Python client. It depends on nothing beyond the standard library."""
