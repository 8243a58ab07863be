"""Rating: compile the day's reference data into a plan, price every leg, explain a price.

The kernel is columnar and integer; `plain` is the same rule written for reading, one record at
a time in exact fractions. Nothing here knows a path, a clock or Dagster.
"""
