"""Train a detector: python -m trainers.train_detector --data DATA --out runs/detector"""

from trainers.training.run import command

_EXAMPLES = """  python -m trainers.train_detector --out runs/detector
  python -m trainers.train_detector --out runs/detector --resume
  python -m trainers.train_detector --config gflv2-lite0 --epochs 3 --limit 100 --out runs/try
  python -m trainers.train_detector --also ../clip-stills/train.json --out runs/video
  python -m trainers.train_detector --config retinanet-r50 --init resnet50.safetensors --out runs/retinanet
  torchrun --nproc-per-node 2 -m trainers.train_detector --config gflv2-x101-dcn-ms --out runs/x101"""


def main(arguments: list[str] | None = None) -> None:
    command("detector", "gflv2-lite0", _EXAMPLES, arguments)


if __name__ == "__main__":
    main()
