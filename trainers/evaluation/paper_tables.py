"""The values of the paper's Tables 1 to 4, in percent, and the recipe of this project for each row."""

from dataclasses import dataclass

from trainers.evaluation.tables import MIOU_NOTE

DETECTION = ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l")
SEGMENTATION = ("dice", "specificity", "sensitivity", "accuracy", "iou_p", "iou_b", "miou")
PAPER_BACKBONE = "paper"  # a row on the backbone that its recipe has


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: the paper's name of the model.
        config: name of the recipe.
        values: in percent, in the order of the table's figures; empty for our own configs.
        multi_scale_test: measured with multi-scale testing, not only trained at several scales.
    """

    label: str
    config: str
    values: tuple[float, ...]
    multi_scale_test: bool = False


@dataclass(frozen=True)
class Table:
    """One table of the paper.

    Attributes:
        number: the paper's.
        title: heading.
        figures: names of its columns.
        rows: in the paper's order.
        note: a caveat for the comparison; may be empty.
    """

    number: int
    title: str
    figures: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


_FCOS = (48.1, 74.7, 50.6, 7.6, 27.6, 50.1)
_ATSS = (49.9, 72.1, 56.1, 10.4, 28.4, 52.0)
_GFLV2 = (51.0, 73.5, 56.8, 12.5, 28.3, 53.5)

TABLE_1 = Table(
    1,
    "Detectors with ResNet-50 FPN, the paper's validation set of 266 images, 2x schedule",
    DETECTION,
    (
        Row("Faster R-CNN", "faster-rcnn-r50", (46.8, 68.1, 52.6, 12.5, 28.2, 48.7)),
        Row("Cascade R-CNN", "cascade-rcnn-r50", (49.3, 69.0, 55.4, 10.4, 23.9, 51.6)),
        Row("Double-Head-Ext", "double-head-r50", (48.0, 69.2, 52.4, 12.5, 25.2, 50.3)),
        Row("D2Det", "d2det-r50", (48.2, 75.3, 56.2, 5.5, 36.0, 49.9)),
        Row("RetinaNet", "retinanet-r50", (46.6, 68.1, 51.6, 9.2, 26.6, 48.1)),
        Row("FCOS", "fcos-r50", _FCOS),
        Row("PAA", "paa-r50", (51.8, 77.5, 56.1, 12.3, 25.2, 54.5)),
        Row("ATSS", "atss-r50", _ATSS),
    ),
)
TABLE_2 = Table(
    2,
    "Feature extractors of the model (GFLv2, ATSS k = 13), the paper's validation set of 266 images",
    DETECTION,
    (
        Row("R-50 FPN", "gflv2-r50", _GFLV2),
        Row("R-50 FPN, DCN (or MS train) *", "gflv2-r50-dcn", (53.1, 75.8, 59.9, 14.6, 30.6, 55.3)),
        Row("R-50 FPN, DCN, MS train", "gflv2-r50-dcn-ms", (53.8, 76.6, 57.8, 12.3, 27.3, 56.0)),
        Row("R-101 FPN, DCN, MS train", "gflv2-r101-dcn-ms", (55.0, 77.3, 62.4, 18.0, 36.0, 58.4)),
        Row("X-101 FPN, DCN, MS train", "gflv2-x101-dcn-ms", (56.3, 76.9, 63.5, 12.5, 33.0, 58.5)),
        Row("X-101 FPN, DCN, MS train, MS test", "gflv2-x101-dcn-ms", (52.1, 73.1, 60.9, 14.2, 33.0, 53.1), True),
        Row("X-101 PAFPN, DCN, MS train", "gflv2-x101-dcn-pafpn-ms", (53.3, 76.1, 60.6, 12.5, 32.2, 55.2)),
        Row("X-101 BiFPN, DCN, MS train", "gflv2-x101-dcn-bifpn-ms", (55.8, 77.0, 62.2, 15.8, 32.9, 57.2)),
    ),
    note="* The paper marks one of DCN and multi-scale training in this row, but it is unclear which: "
    "here it is compared with DCN.",
)
TABLE_3 = Table(
    3,
    "Ablation with ResNet-50 FPN, the paper's validation set of 266 images, 2x schedule",
    DETECTION,
    (
        Row("FCOS (baseline)", "fcos-r50", _FCOS),
        Row("FCOS + ATSS", "atss-r50", _ATSS),
        Row("FCOS + ATSS + GFLv2", "gflv2-r50", _GFLV2),
    ),
)
TABLE_4 = Table(
    4,
    "Segmenters, 80/20 split",
    SEGMENTATION,
    (
        Row("UNet++", "unetpp", (66.067, 99.339, 72.788, 96.939, 59.552, 96.797, 78.175)),
        Row("PraNet", "pranet", (61.822, 97.444, 79.383, 95.937, 53.300, 95.688, 74.494)),
        Row("ACSNet", "acsnet", (72.708, 98.903, 77.753, 97.463, 66.691, 97.285, 81.988)),
        Row("ACFNet", "acfnet", (76.204, 99.369, 76.204, 98.084, 70.491, 97.960, 84.225)),
        Row("HRNet", "hrnet-w48", (88.351, 98.839, 93.224, 98.496, 79.133, 98.405, 88.769)),
        Row("HRNet + low-rank", "lowrank-hrnet-w48", (90.364, 99.007, 96.288, 98.856, 82.422, 98.791, 90.607)),
    ),
    note=MIOU_NOTE,
)
TABLES = (TABLE_1, TABLE_2, TABLE_3, TABLE_4)
