"""`python -m harness.inside.cuda`: prints as one JSON object whether torch's CUDA works with this host's driver; holds no GPU memory."""

from __future__ import annotations

import json
import warnings

import torch


def main() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()  # what keeps it from working comes as a warning
    problem = str(said[0].message).partition("(Triggered")[0].strip() if said and not available else ""
    print(json.dumps({"built_for": torch.version.cuda, "available": available, "problem": problem}))


if __name__ == "__main__":
    main()
