"""Recommendations in two stages: cheap candidate generation, then a ranker that learns online.

Interactions update one row per course (`cooccurrence`), and every worker indexes these rows (`index`). `generators`
propose candidates from the index, `candidates` selects among them, `features` describes them, a ranker scores them, and
`lists` makes the list that a person sees. `item_similarity` is the reference for the rows and the index.
"""
