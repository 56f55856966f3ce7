"""Video anomaly detection from the attention heads of a frozen multimodal LLM (HeadHunt-VAD, AAAI 2026).

Way of the data: video -> segments -> head features -> scores -> events -> report.
"""
