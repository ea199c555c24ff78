#!/bin/bash
# build-debian.sh OUTDIR: makes OUTDIR/debian.raw - a Debian 12 with systemd, cloud-init, an SSH server, the guest agent and PostgreSQL, as a disk that
# BIOS boots, like those that clouds publish: it knows no user and no name until it is told. Needs root and Debian's archive; takes
# a few minutes. Does nothing when it was made by this very script.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mirror=${EBB_DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=(systemd-sysv udev dbus netbase iproute2 linux-image-cloud-amd64 initramfs-tools cloud-init openssh-server qemu-guest-agent sudo postgresql)
size_mib=3072

main() {
  [[ $# -eq 1 ]] || die "usage: build-debian.sh OUTDIR"
  [[ $(id -u) = 0 ]] || die "debootstrap needs root"
  command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
  mkdir -p "$1"
  out=$(cd "$1" && pwd)
  exec 9>"$out/.lock"
  flock 9
  umount -q "$out"/.build.*/root/{proc,sys} 2>/dev/null || true  # of a run that was killed
  rm -rf --one-file-system "$out"/.build.*
  local key
  key=$(sha256sum <"${BASH_SOURCE[0]}")
  [[ ! -f $out/debian.raw || $(cat "$out/.key" 2>/dev/null) != "$key" ]] || return 0
  work=$(mktemp -d "$out/.build.XXXXXX")
  trap 'umount -q "$work"/root/{proc,sys} || true; rm -rf --one-file-system "$work"' EXIT
  make_root
  make_disk
  mv -f "$work/debian.raw" "$out/debian.raw"
  echo "$key" >"$out/.key"
}

die() {
  echo "build-debian: $*" >&2
  exit 1
}

make_root() {
  local root=$work/root
  # The last message names what went wrong; all of it is in the log.
  debootstrap --variant=minbase bookworm "$root" "$mirror" >"$out/debootstrap.log" 2>&1 || die "debootstrap: $(tail -n 3 "$out/debootstrap.log")"
  mount -t proc proc "$root/proc"
  mount -t sysfs sys "$root/sys"
  cp /etc/resolv.conf "$root/etc/"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"  # nothing is started here
  chmod +x "$root/usr/sbin/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" apt-get install -qy --no-install-recommends "${packages[@]}" \
    >>"$out/debootstrap.log" 2>&1 || die "apt-get: $(tail -n 3 "$out/debootstrap.log")"
  # No disk is known by another name before the seed says which machine this is.
  echo "LABEL=root / ext4 defaults 0 1" >"$root/etc/fstab"
  : >"$root/etc/machine-id"
  rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/cache/apt/archives/*.deb "$root"/etc/{hostname,resolv.conf} "$root/usr/sbin/policy-rc.d"
  # The network is what cloud-init says it is: DHCP unless it was told otherwise.
  chroot "$root" systemctl -q enable systemd-networkd
  # Where clouds differ from each other is not asked: the seed is a disk.
  printf 'datasource_list: [ NoCloud, None ]\nlocale: false\n' >"$root/etc/cloud/cloud.cfg.d/90_ebb.cfg"
  printf 'virtio_pci\nvirtio_blk\nvirtio_net\n' >>"$root/etc/initramfs-tools/modules"
  chroot "$root" update-initramfs -u >>"$out/debootstrap.log" 2>&1 || die "update-initramfs: $(tail -n 3 "$out/debootstrap.log")"
  umount "$root/proc" "$root/sys"
  mkdir -p "$root/boot/grub"
  # A serial console, as every cloud has it.
  cat >"$root/boot/grub/grub.cfg" <<END
linux /vmlinuz root=LABEL=root ro console=ttyS0 net.ifnames=0 panic=-1 mitigations=off
initrd /initrd.img
boot
END
}

make_disk() {
  local disk=$work/debian.raw bios=2048 data=4096 end=$((size_mib * 2048 - 2048))
  truncate -s "${size_mib}M" "$disk"
  sfdisk -q "$disk" <<END
label: gpt
start=$bios, size=$((data - bios)), type=21686148-6449-6E6F-744E-656564454649
start=$data, size=$((end - data)), type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
  truncate -s $(((end - data) * 512)) "$work/root.ext4"
  mke2fs -q -F -t ext4 -L root -d "$work/root" "$work/root.ext4"
  grub-mkimage -O i386-pc -p '(hd0,gpt2)/boot/grub' -o "$work/core.img" biosdisk part_gpt ext2 linux normal
  python3 "$here/install-grub.py" "$disk" /usr/lib/grub/i386-pc/boot.img "$work/core.img" "$bios"
  dd if="$work/root.ext4" of="$disk" bs=1M seek=$((data / 2048)) conv=notrunc,sparse status=none
}

main "$@"
