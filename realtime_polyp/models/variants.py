"""Configurations of the named models. The default models are chosen in `engines.weights`."""

from dataclasses import replace

from realtime_polyp.models.detector import DetectorConfig
from realtime_polyp.models.efficientnet_lite import LITE2
from realtime_polyp.models.hrnet import HRNET_W18, HRNET_W18_SMALL, HRNET_W32, HRNET_W48
from realtime_polyp.models.joint import JointConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import R50, R101, X101, Deform, ResNetConfig
from realtime_polyp.models.segmenter import SegmenterConfig


def paper_detector(backbone: ResNetConfig, *, deform: Deform = "v2", neck: NeckConfig = NeckConfig()) -> DetectorConfig:
    """Return the configuration of GFLv2 in the paper's Table 2.

    It has levels P3 to P7, four convolutions with group norm per tower, and anchors of 8 strides. The input is 800 x
    1344 px: the paper's (1333, 800), rounded to a multiple of 32 px.
    """
    return DetectorConfig(
        backbone=replace(backbone, deform=deform),
        neck=neck,
        size=(800, 1344),
        norm="group",
        stacked_convs=4,
        strides=(8, 16, 32, 64, 128),
        anchor_scale=8.0,
    )


DETECTORS = {
    "gflv2-lite0": DetectorConfig(neck=NeckConfig(channels=64, levels=4, relu_before_extra=True)),
    "gfl-r50": replace(paper_detector(R50, deform="none"), dgqp=False),
    "gflv2-r50": paper_detector(R50, deform="none"),
    "gflv2-r50-dcnv1": paper_detector(R50, deform="v1"),
    "gflv2-r50-dcn": paper_detector(R50),
    "gflv2-r101-dcn": paper_detector(R101),
    "gflv2-x101-dcn": paper_detector(X101),
    "gflv2-x101-dcn-pafpn": paper_detector(X101, neck=NeckConfig(kind="pafpn")),
    "gflv2-x101-dcn-bifpn": paper_detector(X101, neck=NeckConfig(kind="bifpn")),
}
SEGMENTERS = {
    "lowrank-lite0": SegmenterConfig(),
    "lowrank-lite2": SegmenterConfig(backbone=LITE2),
    "lowrank-hrnet-w18s": SegmenterConfig(backbone=HRNET_W18_SMALL),
    "lowrank-hrnet-w18": SegmenterConfig(backbone=HRNET_W18, size=(512, 512), width=270, bases=32),
    "lowrank-hrnet-w32": SegmenterConfig(backbone=HRNET_W32, size=(512, 512), width=480, bases=32),
    "lowrank-hrnet-w48": SegmenterConfig(backbone=HRNET_W48, size=(512, 512), width=720, bases=32),
}
# Each is a detector and a segmenter on one backbone.
JOINTS = {
    "polyp-lite0": JointConfig(),
    "polyp-lite2": JointConfig(backbone=LITE2),
}
