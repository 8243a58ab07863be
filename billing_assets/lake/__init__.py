"""Versioned tables of the lake (Delta): schemas, slice replace, reads at a version, SQL.

No billing rule lives here, and nothing outside this room opens a table's folder.
"""
