"""The instruments are tested too: one that cannot see a fault measures nothing."""
