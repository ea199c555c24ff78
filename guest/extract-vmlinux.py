#!/usr/bin/env python3
"""extract-vmlinux.py BZIMAGE VMLINUX: takes the ELF kernel out of an x86 bzImage.

The boot protocol's header says where the compressed payload lies and its last four bytes are the size of the
unpacked kernel (Documentation/arch/x86/boot.rst); nothing is searched for or guessed.
"""
import gzip
import lzma
import shutil
import struct
import subprocess
import sys


def fail(why):
    sys.exit(f"extract-vmlinux: {why}")


def payload_of(image):
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        fail("not a bzImage: no boot header")
    if struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        fail("boot protocol older than 2.08: the header does not say where the payload is")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    if length < 8 or start + length > len(image):
        fail("the payload lies outside of the file")
    return image[start : start + length]


def run(tool, data):
    if not shutil.which(tool[0]):
        fail(f"the kernel needs '{tool[0]}' to be unpacked: install it")
    done = subprocess.run(tool, input=data, stdout=subprocess.PIPE)
    if done.returncode != 0:
        fail(f"{tool[0]} could not unpack the payload")
    return done.stdout


def unpack(payload):
    size = struct.unpack("<I", payload[-4:])[0]
    packed = payload[:-4]
    if payload.startswith(b"\x02\x21\x4c\x18"):
        kernel = run(["lz4", "-dc"], packed)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        kernel = run(["zstd", "-dc"], packed)
    elif payload.startswith(b"\xfd7zXZ\x00"):
        kernel = lzma.decompress(packed)
    elif payload.startswith(b"\x1f\x8b"):
        kernel = gzip.decompress(payload)  # gzip's own last field is the size
    else:
        fail(f"unknown compression, magic {payload[:6].hex()}")
    if len(kernel) != size:
        fail(f"unpacked {len(kernel)} bytes, the header promised {size}")
    return kernel


def check_pvh(kernel):
    """QEMU boots an ELF only by PVH, whose entry point is a note: owner "Xen", type 18."""
    if kernel[:5] != b"\x7fELF\x02":
        fail("the payload is not a 64-bit ELF file")
    if struct.pack("<III", 4, 4, 18) + b"Xen\0" not in kernel and struct.pack("<III", 4, 8, 18) + b"Xen\0" not in kernel:
        fail("the kernel has no PVH entry point (CONFIG_PVH)")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        kernel = unpack(payload_of(file.read()))
    check_pvh(kernel)
    with open(sys.argv[2], "wb") as file:
        file.write(kernel)


main()
