import realtime_polyp  # noqa: F401 - first of all: it keeps the libraries from reporting their use
