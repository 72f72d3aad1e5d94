"""What a video lost is described exactly, and kept in little memory however much it is."""

import pickle

from realtime_polyp.sources.damage import Damage, Places
from realtime_polyp.sources.gaps import Gap


def test_what_a_stream_loses_for_hours_is_counted_and_its_first_places_are_named() -> None:
    damage = Damage()
    for number in range(10_000):
        damage.add_lost_packet(2.0 + number)
        damage.add_incomplete_picture(number / 25)
        damage.gaps.append(Gap(number, number + 0.5))
        damage.jumps_at_s.append(9.0 + number)
    assert damage.describe_live("scope") == (
        "scope arrives incomplete: 5000.00 s are missing, from 0.00 s to 0.50 s, from 1.00 s to 1.50 s, "
        "from 2.00 s to 2.50 s and 9997 more, "
        "10000 packets could not be decoded at 2.00 s, 3.00 s, 4.00 s and 9997 more, "
        "10000 pictures incomplete at 0.00 s, 0.04 s, 0.08 s and 9997 more. "
        "The timestamps of scope jumped at 9.00 s, 10.00 s, 11.00 s and 9997 more."
    )
    assert len(pickle.dumps(damage)) < 2000


def test_a_place_is_named_once_also_where_it_is_found_a_little_later() -> None:
    damage = Damage(incomplete_at_s=Places([1.0, 1.0, 1.04, 1.0, 2.0, 3.0, 3.0]))
    assert damage.describe("scope.ts", 90) == (
        "scope.ts is damaged after 1.00 s (90 frames could be read): "
        "7 pictures incomplete at 1.00 s, 1.04 s, 2.00 s and 1 more."
    )
