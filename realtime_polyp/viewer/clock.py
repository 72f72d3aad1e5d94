"""Times of a recording as text."""


def clock_text(seconds: float, *, tenths: bool = False) -> str:
    """Format a time as "01:02", or "1:01:02" from one hour on. tenths: as "01:02.3"; never rounded up."""
    tenth = int(max(0.0, seconds) * 10 + 1e-6)
    minutes, whole = divmod(tenth // 10, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes:02d}:{whole:02d}"
    return f"{text}.{tenth % 10}" if tenths else text
