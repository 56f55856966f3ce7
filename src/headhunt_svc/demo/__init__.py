"""The embedded default: procedural scenes, a corpus of videos with truth, and a small MLLM pre-trained on them.

Way of the data: `actors` and `scenes` (what happens) -> `rendering` (pixels) -> `corpus` (videos with truth);
`scenes` -> `questions` (what can be asked) and `targets` (what is where) -> `pretraining` -> artifacts/demo_mllm.
"""
