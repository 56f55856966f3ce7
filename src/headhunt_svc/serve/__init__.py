"""The HTTP service: what it does to a video is the detector's; here are queues, limits, routes and figures."""
