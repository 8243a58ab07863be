"""How the registry's tables came to be, step by step; `Database.migrate` runs what is missing.

A new step is a new file in `versions/`, with the last one's revision as its `down_revision`.
Steps that were released are never edited, nor do they import `schema.py`, which moves on.
"""
