"""The jobs of the peers import packages of the peers' environment, so pytest must not collect them."""

from __future__ import annotations

collect_ignore = ["quix_job.py", "bytewax_job.py"]
