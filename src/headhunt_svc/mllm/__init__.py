"""The frozen multimodal LLM: loading, prompts, capture of head outputs."""

import logging

# transformers imports torchao wherever it is installed, and that reports every kernel that this machine cannot use
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
