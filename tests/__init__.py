"""The tests mirror the rooms, then come the behaviours that cross them."""
