"""All of Faust's inside that Encore needs to be different, through the classes that Faust lets one replace.

Chunked delivery (one Faust message carries up to a few hundred records of a partition), a table whose changelog is
written behind (one record a person and commit, acknowledged before offsets are committed), and a producer whose
failures stop the worker instead of being forgotten. Nothing outside this folder imports Faust's private modules.
"""
