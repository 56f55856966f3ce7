"""Files and folders: atomic writes, content hashes, tables, object stores, the audit log.

Here: how bytes are kept. Not here: what they mean.
"""
