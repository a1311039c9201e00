"""The command line. Every module is loaded only when one of its commands is called.

Nothing here may import what the daemon needs (pydantic, aiohttp, the expressions) at its top:
`stoker claim` stands in people's scripts, and its start-up time is theirs.
"""
