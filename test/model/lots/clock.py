"""The server's clock, which stands still until it is set: instants are plain numbers, seconds after BEGINNING.

The server runs under libfaketime, which reads the instant from a file each time that anybody asks for it. The clock
that nobody sets goes on, so whatever waits in the server still wakes up.
"""

import glob
import os
import subprocess
from datetime import datetime, timedelta, timezone

BEGINNING = datetime(2040, 1, 1, tzinfo=timezone.utc)


def instant(number):
    return None if number is None else BEGINNING + timedelta(seconds=number)


def number(instant):
    return None if instant is None else (instant - BEGINNING).total_seconds()


class Clock:
    def __init__(self, directory):
        self._path = os.path.join(directory, "clock")
        self.now = 0
        self.set(0)

    def set(self, now):
        assert now >= self.now
        self.now = now
        with open(self._path + ".new", "w") as file:
            print(int(instant(now).timestamp()), file=file)
        os.rename(self._path + ".new", self._path)

    def restart_server(self):
        """From then on the server that PGDATA names has this clock."""
        libraries = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
        if not libraries:
            raise FileNotFoundError("libfaketime is not installed")
        environment = {
            **os.environ, "LD_PRELOAD": libraries[0], "FAKETIME_TIMESTAMP_FILE": self._path, "FAKETIME_FMT": "%s",
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        subprocess.run(["pg_ctl", "stop", "--wait", "--silent"], check=True)
        subprocess.run(["pg_ctl", "start", "--wait", "--silent", f"--log={os.environ['SERVER_LOG']}"], check=True,
                       env=environment)
