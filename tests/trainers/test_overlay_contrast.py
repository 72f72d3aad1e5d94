"""The contrast of the overlay on stills: bad options."""

import pytest

from trainers import overlay_contrast


@pytest.mark.parametrize(("option", "given"), [("--images=0", "0 and 1080"), ("--height=-1", "500 and -1")])
def test_numbers_that_are_too_small_are_one_sentence(
    option: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        overlay_contrast.main([option])
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and said.endswith(f"--images must be at least 1 and --height at least 0, not {given}")
