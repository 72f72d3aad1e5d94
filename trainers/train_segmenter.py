"""Train a segmenter: python -m trainers.train_segmenter --data DATA --out runs/segmenter"""

from trainers.training.run import command

_EXAMPLES = """  python -m trainers.train_segmenter --out runs/segmenter
  python -m trainers.train_segmenter --out runs/segmenter --resume
  python -m trainers.train_segmenter --config lowrank-lite0 --backbone-of runs/detector/best.safetensors --out runs/lite
  torchrun --nproc-per-node 2 -m trainers.train_segmenter --config lowrank-hrnet-w48 --out runs/w48"""


def main(arguments: list[str] | None = None) -> None:
    command("segmenter", "lowrank-lite2", _EXAMPLES, arguments)


if __name__ == "__main__":
    main()
