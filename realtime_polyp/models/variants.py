"""The named models, as values. Which of them a new user gets stands in `engines.weights`."""

from realtime_polyp.models.detector import DetectorConfig
from realtime_polyp.models.hrnet import HRNET_W18_SMALL
from realtime_polyp.models.segmenter import SegmenterConfig

DETECTORS = {"gflv2-lite0": DetectorConfig(channels=64)}
SEGMENTERS = {
    "lowrank-lite0": SegmenterConfig(),
    "lowrank-hrnet-w18s": SegmenterConfig(trunk=HRNET_W18_SMALL),
}
