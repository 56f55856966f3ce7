"""Files and folders: atomic writes, content hashes, rows and tables, object stores, the audit log.

Belongs here: how bytes are stored. Does not: what they mean.
"""
