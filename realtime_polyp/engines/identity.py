"""What an engine is made of, as a short key: a gate's verdict and a compiled file hold for this key and no other."""

import hashlib
import json
from collections.abc import Iterable

from realtime_polyp.engines.weights import Weights

GRAPH = 2  # raised whenever the same weights are compiled to another graph (`exported`, `convert`, the models' forward)


def engine_key(name: str, weights: Weights, kinds: Iterable[str], **parts: str) -> str:
    """Sixteen hex digits over the engine's name, the files of `kinds` it was made of, and parts such as versions."""
    files = {kind: weights.checksums[weights.files[kind]] for kind in kinds if kind in weights.files}
    made_of = {"engine": name, "graph": GRAPH, "size": weights.size, "files": files, **parts}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
