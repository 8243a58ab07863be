"""Controls: what must hold before money leaves the house, as findings that a person can act on.

Controls read and judge; they never repair.
"""
