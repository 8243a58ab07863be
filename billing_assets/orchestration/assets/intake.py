"""Mediation files taken in, and the records of each UTC day made of them."""
