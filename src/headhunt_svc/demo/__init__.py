"""The embedded default: rendered scenes, a corpus of videos with frame-level truth, and a small pre-trained MLLM.

What happens (`people`, `things`, `scenes`) is drawn by `rendering`, written as videos by `corpus` and, for hours, by
`footage`, and asked about in `questions` and `targets`, from which `pretraining` makes artifacts/demo_mllm. `wide`
holds what only the model's windows show. Of the package, only the command line imports this room.
"""
