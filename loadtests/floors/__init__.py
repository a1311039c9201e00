"""What nothing can be faster than: the same bytes with no work, and one durable row.

Each module is a process of its own, told on its command line what to answer.
"""
