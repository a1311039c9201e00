"""The heart: resources and their life, planning, claiming, ending, drivers and the ledger.

This room decides what is made, handed over and taken away, and does it through drivers. It may
import the config room and nothing else of the project: policies are asked by the daemon, before
a claim gets here.
"""
