"""Train the joint model, a detector and a segmenter on one backbone: python -m trainers.train_joint --out runs/joint"""

from trainers.training.run import command

DEFAULT_JOINT = "polyp-lite2"
_EXAMPLES = """  python -m trainers.train_joint --out runs/joint
  python -m trainers.train_joint --negatives ../shared/data/negative.json --out runs/joint
  python -m trainers.train_joint --config polyp-lite0 --size 256 320 --epochs 60 --out runs/small
  python -m trainers.train_joint --config polyp-lite0 --parts-of gflv2-lite0.safetensors --out runs/tuned
  python -m trainers.train_joint --parts-of lowrank-lite2.safetensors gflv2-lite0.safetensors --out runs/tuned
  python -m trainers.train_joint --batch 64 --augment-on device --device cuda --out runs/joint"""


def main(arguments: list[str] | None = None) -> None:
    command("joint", DEFAULT_JOINT, _EXAMPLES, arguments)


if __name__ == "__main__":
    main()
