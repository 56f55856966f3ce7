"""Measures the embedded MLLM's answers on held-out windows: exact answers and balanced yes/no accuracies."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from headhunt_svc.demo.conversation import IGNORED, Conversation, normalise
from headhunt_svc.demo.pool import Pool
from headhunt_svc.demo.questions import OPEN, held_out_questions

# One answer is common: the figure is the mean over answers.
CHOICES = ("light", "camera", "location", "weather", "daytime")


@torch.inference_mode()
def skills(talk: Conversation, pool: Pool, windows: Sequence[int], batch: int = 32) -> dict[str, float]:
    """Accuracy per kind of question on `windows` of a pool.

    Open questions: share of exact answers; those of CHOICES: mean of the shares for each answer.
    yn_<event>: mean of the accuracies on yes and on no; a kind with one of the two missing is left out.
    yes_no: mean of those.
    """
    hits: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(windows), batch):
        chosen = windows[start : start + batch]
        frames = torch.from_numpy(np.concatenate([pool.frames(i) for i in chosen])).to(talk.prefix.device).float() / 255
        visual = talk.model.model.get_image_features(normalise(frames)).pooler_output
        questions_of_clips = [held_out_questions(pool.facts, i) for i in chosen]
        packed = talk.pack(questions_of_clips)
        predicted = talk.model.lm_head(talk.hidden(visual, packed)).argmax(-1)
        for row, questions in enumerate(questions_of_clips):
            for block, q in enumerate(questions, start=1):
                answer = ((packed.blocks[row] == block) & (packed.labels[row] != IGNORED)).nonzero()[:, 0]
                right = bool((predicted[row, answer - 1] == packed.labels[row, answer]).all())
                hits[q.kind][q.answer if q.kind.startswith("yn_") or q.kind in CHOICES else ""].append(right)
    result = {
        kind: float(np.mean([np.mean(answers) for answers in hits[kind].values()])) for kind in OPEN if kind in hits
    }
    balanced = {
        kind: float(np.mean([np.mean(answers["yes"]), np.mean(answers["no"])]))
        for kind, answers in sorted(hits.items())
        if kind.startswith("yn_") and answers["yes"] and answers["no"]
    }
    return {**result, **balanced, "yes_no": float(np.mean(list(balanced.values())))}
