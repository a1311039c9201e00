"""What the operator wants: manifests, expressions, checks, revisions, host settings.

This room turns a directory of YAML into one immutable `Revision`, or into the full list of what
is wrong with it. It imports nothing else of the project; what it must know of drivers it is
handed (`catalogue`).
"""
