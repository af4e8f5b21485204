"""The tests. Imported before all else, so that what libraries read as they start is set here."""

import os

# Processes beside each other, each on one thread: with more they would wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
