"""The implementations of the ledger (see `stoker.pools.store` for what they owe)."""
