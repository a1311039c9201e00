"""CEL, read by cel-python's grammar and evaluated within bounds.

`scanning` finds strings and brackets, `syntax` makes `nodes` of a source, `checking` finds types
and mistakes before anything runs, `evaluation` runs it with `operations`, `functions`, `times` and
`macros`. The door to all this is `stoker.config.expressions`.
"""
