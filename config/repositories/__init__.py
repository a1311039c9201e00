"""A Git repository as the config directory: `urls` says what may be followed, `source` follows it.

`following` decides about one commit, `clone` is the only one that speaks to git, `programs` runs it.
"""
