"""Alias of `python -m realtime_polyp.bench.gpu`, under the name that older documents use."""

from realtime_polyp.bench.gpu import main

if __name__ == "__main__":
    main()
