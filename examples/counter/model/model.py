import os
import time


class Model:
    def __init__(self, **kwargs):
        self._count = 0
        self._started_at = None

    def load(self):
        self._started_at = time.time()

    def predict(self, model_input):
        by = model_input.get("by", 1)
        self._count += by
        return {"count": self._count, "pid": os.getpid(), "started_at": self._started_at}
