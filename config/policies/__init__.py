"""What the config directory says of who may claim: `Policy` and `PolicyTest` documents.

`manifests` are the documents as people write them, `facts` the names that their expressions may
read, `rules` what they compile to, `compiling` and `cases` the way there. The room
`stoker.policies` decides with the outcome.
"""
