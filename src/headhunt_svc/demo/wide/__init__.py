"""The wide world of pre-training: many more kinds of object, action and effect, weather, night, compression.

The kinds and their words are data (`kinds`); `people`, `things` and `weather` draw them for the renderer of `demo`,
`windows` puts them together with those of the corpus. Nothing here is drawn in the corpus.
"""
