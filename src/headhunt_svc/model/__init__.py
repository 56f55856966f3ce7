"""The frozen multimodal LLM: loading, model families, prompts, reading head outputs, attribution.

Here: pictures and prompts in, head outputs out. Not here: which heads are chosen, and how they are scored.
"""
