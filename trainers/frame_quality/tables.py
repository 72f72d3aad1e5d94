"""The report of `trainers.train_quality`: confusion table, rejected clear stills, and figures for each corruption."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import FrameQuality
from realtime_polyp.telemetry.text_table import format_table
from realtime_polyp.temporal.frame_quality import FRAME_QUALITIES, FrameQualityClassifier, compute_features
from trainers.data.negatives import sequence_of
from trainers.data.stills import Still, read_image
from trainers.frame_quality.dataset import AS_IT_IS, CLEAR, QualitySamples, field_of


def check_text(samples: QualitySamples, classifier: FrameQualityClassifier) -> str:
    """Return the whole report on some samples."""
    found = np.array(classifier.qualities)[classifier.kind_index(classifier.log_odds(samples.vectors))]
    return "\n\n".join((confusion_text(samples, found), rejected_text(samples, found), kinds_text(samples, found)))


def confusion_text(samples: QualitySamples, found: NDArray[np.str_]) -> str:
    """Return the confusion table: a row per true quality, percent of its pictures classified as each. found: (n,)."""
    rows = []
    for name, chosen in _true_rows(samples).items():
        shares = (f"{100 * (found[chosen] == quality).mean():.1f}" for quality in FRAME_QUALITIES)
        rows.append([name, *shares, str(chosen.sum())])
    return format_table(("of 100 pictures, classified", *FRAME_QUALITIES, "pictures"), rows)


def _true_rows(samples: QualitySamples) -> dict[str, NDArray[np.bool_]]:
    own = samples.kinds == AS_IT_IS
    clear = {"clear, as they are": own, "clear, softened": (samples.qualities == CLEAR) & ~own}
    return {**clear, **{quality: samples.qualities == quality for quality in FRAME_QUALITIES if quality != CLEAR}}


def rejected_text(samples: QualitySamples, found: NDArray[np.str_]) -> str:
    """Return how many unchanged stills are rejected, in all and by centre."""
    own = samples.kinds == AS_IT_IS
    rejected = own & (found != CLEAR)
    rows = [f"clear stills rejected: {_counted(rejected, own)}"]
    rows += [
        f"  {centre}: {_counted(rejected, own & (samples.centres == centre))}"
        for centre in sorted(set(samples.centres))
    ]
    return "\n".join(rows)


def kinds_text(samples: QualitySamples, found: NDArray[np.str_]) -> str:
    """Return for each corruption the share that is rejected, and the share classified as the right quality."""
    rows = []
    for quality in FRAME_QUALITIES[1:]:
        for kind in sorted(set(samples.kinds[samples.qualities == quality])):
            these = samples.kinds == kind
            rejected, right = (found[these] != CLEAR).mean(), (found[these] == quality).mean()
            rows.append((f"  {quality}, {kind}", f"{100 * rejected:.1f} %", f"{100 * right:.1f} %"))
    return format_table(("corrupted pictures", "rejected", "correct quality"), rows)


def real_text(frames: Sequence[Still], qualities: Sequence[FrameQuality], classifier: FrameQualityClassifier) -> str:
    """Return how many frames of real video are rejected, by sequence. qualities: as a person saw them."""
    features = (compute_features(field_of(read_image(frame.image_path))) for frame in frames)
    rejected = np.array([classifier.classify(one) != CLEAR for one in features])
    clear = np.array([quality == CLEAR for quality in qualities])
    sequences = np.array([sequence_of(frame) for frame in frames])
    rows = [f"frames of real video rejected: clear {_counted(rejected, clear)}, unclear {_counted(rejected, ~clear)}"]
    for name in sorted(set(sequences)):
        own = sequences == name
        rows.append(f"  {name}: clear {_counted(rejected, own & clear)}, unclear {_counted(rejected, own & ~clear)}")
    return "\n".join(rows)


def _counted(rejected: NDArray[np.bool_], of: NDArray[np.bool_]) -> str:
    return f"{(rejected & of).sum()} of {of.sum()} ({100 * (rejected & of).sum() / max(1, of.sum()):.2f} %)"
