"""Events as records: what happened where and when, with picture, clip and features, and what people say about it.

Belongs here: the records, their database and files. Does not: finding events (detector), telling people (notify).
"""
