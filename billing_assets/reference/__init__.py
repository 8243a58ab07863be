"""Reference data: partners, agreements, rate sheets, calendars, FX and tax, as dated versions.

Files in a folder are read, checked and frozen into one `Reference`, named by its content. No
price is computed here.
"""
