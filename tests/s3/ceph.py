"""A Ceph of the tests' own on this machine, with the gateway of it that speaks S3: the daemons of Debian's packages.

One monitor, one manager, one OSD on a sparse file, one RADOS gateway, all in a folder that they are given and on free
ports. They end with the `with` block, by their own process ids, and with this process if that is killed. Nothing
outside the folder is touched, so no root is needed; only to install the packages is.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

from tests.nats import free_port

PACKAGES = "ceph-mon ceph-mgr ceph-osd radosgw ceph-common"
PROGRAMS = ("setpriv", "ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")
DEADLINE_S = 180.0
DISK_BYTES = 4 << 30
CONFIG = """
[global]
fsid = {fsid}
mon initial members = one
mon host = [v2:127.0.0.1:{monitor}]
public network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
run dir = {folder}/run
log file = {folder}/log/$name.log
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
# One disk has nobody to copy to.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = false
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000

[mon.one]
mon data = {folder}/mon
# A disk that is nearly full is no concern of a test's.
mon data avail crit = 1
mon data avail warn = 2

[mgr.one]
mgr data = {folder}/mgr
mgr initial modules =

[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = {disk}
bluestore block create = true
osd memory target = 939524096

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
# Without keys the gateway would insist on a secure connection to the monitor, and wait for it in vain.
ms mon client mode = crc
client mount timeout = 30
rgw init timeout = 60
rgw dynamic resharding = false
rgw enable usage log = false
rgw run sync thread = false
"""


class CephMissing(Exception):
    """What has to be installed first."""


class Ceph:
    """Made by `ceph`."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self.folder, self._held = folder, held
        self._config = folder / "ceph.conf"
        self._gateway_port = free_port()
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._gateway_port}"

    def start(self, access_key: str, secret_key: str) -> None:
        for name in ("run", "log", "mon", "mgr", "osd"):
            (self.folder / name).mkdir(parents=True)
        fsid, monitor = str(uuid4()), free_port()
        self._config.write_text(
            CONFIG.format(fsid=fsid, monitor=monitor, folder=self.folder, disk=DISK_BYTES, gateway=self._gateway_port)
        )
        monmap = self.folder / "monmap"
        self._run("monmaptool", "--create", "--addv", "one", f"[v2:127.0.0.1:{monitor}]", "--fsid", fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "one", "--monmap", monmap)
        self._begin("ceph-mon", "-i", "one")
        self._run("ceph", "--connect-timeout", "60", "-s")
        self._begin("ceph-mgr", "-i", "one")
        disk = str(uuid4())
        self._run("ceph", "osd", "new", disk)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._begin("ceph-osd", "-i", "0")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=here", "root=default")
        self._gateway = self._begin("radosgw", "-n", "client.rgw")
        self._until_it_answers()
        self._run(
            "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=causeway", "--display-name=causeway",
            f"--access-key={access_key}", f"--secret-key={secret_key}",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [program, "-c", self._config, *arguments] if program != "monmaptool" else [program, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ChildProcessError(f"{program} {arguments[0]} failed: {done.stdout.decode(errors='replace')[-1500:]}")

    def _begin(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "log" / f"{program}.out").open("ab") as out:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, "-c", self._config, *arguments, "-f"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self._held.callback(_end, process)
        return process

    def _until_it_answers(self) -> None:
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            assert self._gateway is not None
            if self._gateway.poll() is not None:
                break
            with contextlib.suppress(URLError, OSError), urlopen(self.url, timeout=5):
                return
            time.sleep(0.1)
        said = (self.folder / "log" / "radosgw.out").read_text(errors="replace")[-1500:]
        raise ChildProcessError(f"the RADOS gateway does not answer at {self.url}: {said}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def ceph(folder: Path, access_key: str, secret_key: str) -> Iterator[Ceph]:
    """Running, with one user. Raises CephMissing, ChildProcessError."""
    missing = [each for each in PROGRAMS if shutil.which(each) is None]
    if missing:
        raise CephMissing(
            f"{', '.join(missing)} not found: a real Ceph is needed. On Debian or Ubuntu, as root:"
            f" apt-get install --no-install-recommends {PACKAGES}"
        )
    with ExitStack() as held:
        started = Ceph(folder, held)
        started.start(access_key, secret_key)
        yield started
