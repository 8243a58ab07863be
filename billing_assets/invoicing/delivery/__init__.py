"""Delivery: issued documents to partners' folders, mailboxes, servers, buckets and webhooks.

`run` decides what goes where and records it in the registry; each other module speaks one
protocol and knows nothing of the registry. A document reaches a receiver once: channels that can
be asked are asked first, and the step that can neither be asked about nor taken back is logged
before it is taken.
"""
