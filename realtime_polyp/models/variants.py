"""The named models that commands offer."""
from realtime_polyp.models.detector import DetectorConfig

DETECTORS = {"lite0": DetectorConfig(channels=64)}
