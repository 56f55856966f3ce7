"""The frozen multimodal LLM: loading, model families, prompts, reading head outputs, attribution.

Here: pictures and prompts in, head outputs out. Not here: which heads are chosen, and how they are scored.
"""

import logging

# transformers imports torchao, which warns of each of its kernel libraries that does not fit this machine
logging.getLogger("torchao").addFilter(lambda record: not str(record.msg).startswith("Failed to load "))
