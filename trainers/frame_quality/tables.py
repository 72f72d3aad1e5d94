"""What `trainers.train_quality` prints: who is taken for what, and how often a clear picture is held back."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.temporal.frame_quality import FRAME_QUALITIES, FrameQualityClassifier
from trainers.frame_quality.dataset import AS_IT_IS, CLEAR, Views


def check_text(checked: Views, classifier: FrameQualityClassifier) -> str:
    """The confusion table, clear stills held back overall and by centre, and what each way of spoiling comes to."""
    found = np.array(classifier.qualities)[classifier.kind_index(classifier.log_odds(checked.vectors))]
    return "\n\n".join((confusion_text(checked, found), held_text(checked, found), kinds_text(checked, found)))


def confusion_text(checked: Views, found: NDArray[np.str_]) -> str:
    """A row for each true view: what share of its pictures is taken for which, %; found: (n,) of FRAME_QUALITIES."""
    rows = ["of 100 pictures, taken for" + "".join(f"{view:>11}" for view in FRAME_QUALITIES) + "   pictures"]
    for name, chosen in _true_rows(checked).items():
        shares = "".join(f"{100 * (found[chosen] == view).mean():11.1f}" for view in FRAME_QUALITIES)
        rows.append(f"{name:<26}{shares}{chosen.sum():11d}")
    return "\n".join(rows)


def _true_rows(checked: Views) -> dict[str, NDArray[np.bool_]]:
    own = checked.kinds == AS_IT_IS
    clear = {"clear, as they are": own, "clear, softened": (checked.views == CLEAR) & ~own}
    return {**clear, **{view: checked.views == view for view in FRAME_QUALITIES if view != CLEAR}}


def held_text(checked: Views, found: NDArray[np.str_]) -> str:
    """How many of the stills as they are would hold alarms back."""
    own = checked.kinds == AS_IT_IS
    held = own & (found != CLEAR)
    rows = [f"clear stills held back: {_counted(held, own)}"]
    rows += [
        f"  {centre}: {_counted(held, own & (checked.centres == centre))}" for centre in sorted(set(checked.centres))
    ]
    return "\n".join(rows)


def kinds_text(checked: Views, found: NDArray[np.str_]) -> str:
    """Of each way of spoiling, what is not taken for clear, and what is named rightly."""
    rows = ["spoilt pictures             held back      named rightly"]
    for view in FRAME_QUALITIES[1:]:
        for kind in sorted(set(checked.kinds[checked.views == view])):
            these = checked.kinds == kind
            held, right = (found[these] != CLEAR).mean(), (found[these] == view).mean()
            rows.append(f"  {view + ', ' + kind:<24}{100 * held:8.1f} %{100 * right:16.1f} %")
    return "\n".join(rows)


def _counted(held: NDArray[np.bool_], of: NDArray[np.bool_]) -> str:
    return f"{(held & of).sum()} of {of.sum()} ({100 * (held & of).sum() / max(1, of.sum()):.2f} %)"
