"""Files and folders: atomic writes, content hashes, tables, object stores, the audit log.

Belongs here: how bytes are stored. Does not: what they mean.
"""
