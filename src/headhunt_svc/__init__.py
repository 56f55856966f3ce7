"""Video anomaly detection from the attention heads of a frozen multimodal LLM (HeadHunt-VAD, AAAI 2026).

Way of the data: video -> segments -> head features -> scores -> events -> report.
"""

import logging

# transformers imports torchao wherever it is installed, and that reports every kernel that this machine cannot use
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
