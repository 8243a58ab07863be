"""Interconnect and wholesale billing for carriers, from mediated CDRs to invoices.

The rooms of this package follow the billing cycle; a room imports only from rooms above it
in the list of ARCHITECTURE.md.
"""
