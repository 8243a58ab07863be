"""Words that every room uses: money, rounding, periods, numbers, identifiers, errors, settings.

Nothing here knows a file format, a table or an agreement.
"""
