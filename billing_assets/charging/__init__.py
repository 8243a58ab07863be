"""Charging: what is not priced record by record becomes lines of a cycle here.

Charges are made from `usage_daily` and the agreements' terms; every line derives itself.
"""
