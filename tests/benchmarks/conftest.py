"""The jobs on the peers import what only their own environment has, so nothing is collected from them."""

from __future__ import annotations

collect_ignore = ["quix_job.py", "bytewax_job.py"]
