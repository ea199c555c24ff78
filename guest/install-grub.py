#!/usr/bin/env python3
"""install-grub.py DISK BOOT_IMG CORE_IMG SECTOR: makes BIOS load GRUB from a disk image, as grub-bios-setup does with a device: boot.img in the
first sector names the first sector of core.img, and that one names the others (GRUB's include/grub/i386/pc/boot.h: kernel sector at 0x5c, one list
of blocks at 0x1f4, of a 64-bit start, a 16-bit count of sectors and the segment that they are loaded to)."""

import struct
import sys

SECTOR = 512
CODE_END = 0x1B8  # what follows is the MBR's own: disk signature and partitions


def main():
    path, boot_path, core_path, at = sys.argv[1:]
    at = int(at)
    with open(boot_path, "rb") as file:
        boot = bytearray(file.read())
    with open(core_path, "rb") as file:
        core = bytearray(file.read())
    core += bytes(-len(core) % SECTOR)
    struct.pack_into("<Q", boot, 0x5C, at)
    struct.pack_into("<QHH", core, 0x1F4, at + 1, len(core) // SECTOR - 1, 0x820)
    with open(path, "r+b") as disk:
        mbr = bytearray(disk.read(SECTOR))
        mbr[:CODE_END] = boot[:CODE_END]
        mbr[0x1FE:0x200] = b"\x55\xaa"
        disk.seek(0)
        disk.write(mbr)
        disk.seek(at * SECTOR)
        disk.write(core)


if __name__ == "__main__":
    main()
