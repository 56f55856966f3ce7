"""The wide world of the next embedded model: many more kinds of object, action and effect, weather, night, compression.

The kinds and their words are data (`kinds`); `people`, `things` and `weather` draw them for the renderer of `demo`,
`windows` puts them together, `targets` and `questions` say what is there. Nothing here is drawn in the corpus.
"""
