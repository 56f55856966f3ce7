"""What every HTTP server of the package has in common: keys, and who may ask one that needs none.

Here: API keys, the loopback rule, requests of other sites. Not here: routes (serve, console), addresses (storage).
"""
