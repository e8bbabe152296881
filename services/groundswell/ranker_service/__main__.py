"""`python -m groundswell.ranker_service`: sets the thread numbers, then serves."""

import os

# The libraries read these when they are imported. One thread per search: FAISS, polars and BLAS
# would each start one per core otherwise, and stand in each other's and the event loop's way.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

from groundswell.ranker_service.process import main  # noqa: E402 - after the thread numbers
from groundswell.ranker_service.settings import RankerSettings  # noqa: E402
from groundswell.serving.server import run  # noqa: E402
from groundswell.serving.settings import load_settings  # noqa: E402

if __name__ == "__main__":
    run(main(load_settings(RankerSettings)))
