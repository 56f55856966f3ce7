"""The frozen multimodal LLM: loading, prompts, capture of head outputs."""
