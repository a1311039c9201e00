"""The ledger: one contract over every kind of it, and what only files on a disk can show."""
