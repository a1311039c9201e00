"""Why a pool, a claim, a resource or a blueprint is as it is: sentences with the numbers in them.

Pure: each module takes frozen facts and gives an `Explanation`. `evidence` collects the facts of
the pools, and the API adds what the ledger remembers. To explain something new, add it to the facts
of its subject, and a function that yields its sentences to the subject's list.
"""
