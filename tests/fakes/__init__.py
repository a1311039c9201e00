"""Stand-ins for the outside world, each passing the contract suite of what it stands for."""
