"""Documents: from the charges of a cycle to one frozen document and all its renderings.

`assemble` makes a `Document`, `renderings` show it in every format, `finalise` gives it a number
and stores it, `delivery` sends it, `prove`, `explain` and `archive` answer for it. Nothing here
prices usage: amounts come from table `charge` as they are.
Sources: catalogue 4.2 and 4.4, EN 16931, UBL 2.1, VAT Directive Art. 226.
"""
