"""What steadiness is allowed to cost, in seconds of the video's own clock: a live source drops frames."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SmoothConfig:
    """confirm_s: found for so long before it is shown, by boxes of sure_score or more; weaker ones count less.

    hold_s: shown for so long unseen. release_s: continued where it was when found again within this (hold_s at least).
    remember_s: known again by its looks within this. gap_s: longest pause in a tentative track's sightings.
    least_iou: of a box with the track it continues. mask_s: time constant of the mask's average; box_noise: how far a
    detector's box strays from one frame to the next, of its side; 0 turns either off. box_unrest: how suddenly a box
    changes its own velocity, of its size a second within a second. unclear_worth: what a sighting counts while the view
    is not clear, of one while it is: an alarm is held back for so much longer; 0: for as long as that lasts. Times and
    scores chosen by `trainers.video_bench`.
    """

    confirm_s: float = 0.10
    hold_s: float = 0.20
    release_s: float = 0.60
    remember_s: float = 3.0
    gap_s: float = 0.05
    least_iou: float = 0.2
    sure_score: float = 0.8
    unclear_worth: float = 0.25
    mask_s: float = 0.20
    box_noise: float = 0.06
    box_unrest: float = 3.0
