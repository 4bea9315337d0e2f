"""The shoal program and the libraries it needs, as one archive that travels to the nodes.

It has all that `ldd` names but the C library itself, so a node needs no package of its own,
only a C library that is not older than the one here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile

C_LIBRARY = re.compile(
    r"(ld-linux.*|linux-vdso|libc|libm|libdl|libpthread|librt|libresolv|libutil|libnss_.*)\.so\b.*"
)


def libraries(program: str) -> list[str]:
    """The paths of the libraries to take along; none for a script."""
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    paths = []
    for line in found.stdout.splitlines():
        name, _, target = line.strip().partition(" => ")
        if target.startswith("not found"):
            raise OSError(f"{program} needs {name}, which is not here")
        if target and not C_LIBRARY.fullmatch(name):
            paths.append(target.rpartition(" (")[0])
    return paths


def pack(program: str) -> tuple[bytes, str]:
    """The archive and its SHA-256, the same bytes for the same files."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=packed, mtime=0) as whole,
        tarfile.open(fileobj=whole, mode="w") as tar,
    ):
        names = [(program, "shoal")] + [(p, os.path.basename(p)) for p in libraries(program)]
        for path, name in names:
            entry = tar.gettarinfo(os.path.realpath(path), name)
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
            entry.mode = 0o755
            with open(path, "rb") as file:
                tar.addfile(entry, file)
    data = packed.getvalue()
    return data, hashlib.sha256(data).hexdigest()
