"""Intake: mediation files read by presets, normalised, checked; days made of their records.

Every row of every file ends landed, rejected or filtered; every landed record ends in `xdr`, or
as a duplicate, a part of a call, or in suspense. Nothing is priced here.
"""
