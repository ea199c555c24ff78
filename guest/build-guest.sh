#!/bin/bash
# build-guest.sh OUTDIR: makes the witness guest - OUTDIR/{vmlinux,initrd.cpio,initrd-sqlite.cpio,initrd-agent.cpio,disk.raw,cmdline} - and, as a disk
# that boots by itself, by BIOS or UEFI, OUTDIR/boot.raw.
# Does nothing when its inputs have not changed; safe to run many at once; the packages of kernel and guest agent are kept in
# OUTDIR/cache, so only the first run needs a network. EBB_GUEST_KERNEL=new asks for the newest kernel again.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modules=(virtio_ring virtio virtio_mmio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_console virtio_blk failover net_failover virtio_net nls_cp437 nls_ascii fat vfat)
outputs=(vmlinux initrd.cpio initrd-sqlite.cpio initrd-agent.cpio disk.raw boot.raw cmdline)
compile=(clang++-19 -std=c++23 -static -O2 -s -fuse-ld=lld -ffunction-sections -Wl,--gc-sections)

# quiet, panic, reboot   a short console, and an end of QEMU (-no-reboot) whether the guest crashes or stops
# no_timer_check         a busy host makes the kernel's timer test fail, and the boot with it
# tsc=reliable           a guest that was paused or moved keeps its clock source
# the others             what the guest does not use; half of the boot time under emulation is in them
# The host adds tsc_early_khz=<its own TSC in kHz>.
cmdline="console=ttyS0 quiet panic=-1 reboot=t no_timer_check tsc=reliable cryptomgr.notests mitigations=off"
cmdline+=" ipv6.disable=1 apparmor=0 audit=0"

main() {
  [[ $# -eq 1 ]] || die "usage: build-guest.sh OUTDIR"
  mkdir -p "$1/cache"
  out=$(cd "$1" && pwd)
  exec 9>"$out/.lock"
  flock 9
  rm -rf "$out"/.build.* "$out"/cache/.download.*  # of runs that were killed
  package=$(obtain_package 'linux-image-*-cloud-amd64' kernel_package_name)
  agent_package=$(obtain_package qemu-guest-agent 'echo qemu-guest-agent')
  local key
  key=$(input_key)
  if is_current "$key"; then return; fi
  work=$(mktemp -d "$out/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  unpack_kernel
  make_initrd initrd.cpio
  make_initrd initrd-sqlite.cpio -DEBB_GUEST_SQLITE -lsqlite3
  make_agent_initrd
  make_disk
  make_boot_disk
  echo "$cmdline" >"$work/cmdline"
  publish "$key"
}

die() {
  echo "build-guest: $*" >&2
  exit 1
}

# obtain_package PATTERN COMMAND: the file of the package in the cache; that which COMMAND names is downloaded if there is none.
obtain_package() {
  local cached name into
  cached=$(newest_cached "$1")
  if [[ -n $cached && ${EBB_GUEST_KERNEL:-} != new ]]; then
    echo "$cached"
    return
  fi
  name=$($2)
  if [[ -z $name ]] || ! apt-cache show "$name" >/dev/null 2>&1; then
    apt-get update -q >&2 || true
    name=$($2)
  fi
  [[ -n $name ]] || die "apt knows no package like $1; is this Debian, with a network?"
  into=$(mktemp -d "$out/cache/.download.XXXXXX")
  if ! (cd "$into" && apt-get download -q -o APT::Sandbox::User=root "$name" >&2); then
    rm -rf "$into"
    die "could not download $name"
  fi
  mv "$into"/*.deb "$out/cache/"
  rmdir "$into"
  newest_cached "$1"
}

newest_cached() {
  find "$out/cache" -maxdepth 1 -name "$1_*.deb" | sort -V | tail -n 1
}

# The package that the meta package stands for: linux-image-<version>-cloud-amd64.
kernel_package_name() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-cloud-amd64\)$/\1/p' | head -n 1
}

# One line that changes when any input of the build does.
input_key() {
  {
    (cd "$here" && sha256sum -- *.h *.cpp *.py build-guest.sh)
    sha256sum <"$package"
    sha256sum <"$agent_package"
    "${compile[0]}" --version
    mke2fs -V 2>&1
    grub-mkimage --version
  } | sha256sum | cut -d ' ' -f 1
}

is_current() {
  local file
  for file in "${outputs[@]}"; do [[ -s $out/$file ]] || return 1; done
  [[ -f $out/.key && $(<"$out/.key") == "$1" ]]
}

unpack_kernel() {
  dpkg-deb -x "$package" "$work/kernel"
  python3 "$here/extract-vmlinux.py" "$work"/kernel/boot/vmlinuz-* "$work/vmlinux"
}

# make_initrd FILE OPTION...: with what the guest's program is to be compiled with beside the usual. Not compressed:
# unpacking under emulation takes longer than reading half a megabyte more.
make_initrd() {
  local into=$work/$1 root=$work/root-$1 module found
  shift
  mkdir -p "$root"/{dev,proc,sys,data,seed,modules}
  "${compile[@]}" "$here"/{main,init,boot,network,witness,record_table}.cpp "$@" -o "$root/init"
  for module in "${modules[@]}"; do
    found=$(find "$work/kernel" -name "$module.ko")
    [[ -n $found ]] || die "the kernel package has no module $module"
    # Signature and type information cost time at each load and serve nobody here.
    objcopy --strip-debug -R .BTF -R .BTF_ids "$found" "$root/modules/$module.ko"
  done
  pack "$root" "$into"
}

# The plain one, with QEMU's guest agent, what that is linked with (libraries of QEMU's own, so they are here) and a shell.
make_agent_initrd() {
  local root=$work/root-initrd.cpio agent=$work/agent library
  dpkg-deb -x "$agent_package" "$agent"
  mkdir -p "$root"/{usr/sbin,bin,run,tmp}
  cp "$agent/usr/sbin/qemu-ga" "$root/usr/sbin/"
  ! ldd "$root/usr/sbin/qemu-ga" | grep 'not found' >&2 || die "libraries of qemu-guest-agent are missing: install qemu-system-x86"
  while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done < <(ldd "$root/usr/sbin/qemu-ga" | grep -o '/[^ ]*')
  cp "$(command -v busybox)" "$root/bin/busybox"
  ln -s busybox "$root/bin/sh"
  pack "$root" "$work/initrd-agent.cpio"
}

# pack FOLDER FILE
pack() {
  find "$1" -exec touch -h -d @0 {} +
  (cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >"$2"
}

make_disk() {
  truncate -s 64M "$work/disk.raw"
  make_file_system "$work/disk.raw"
}

# make_file_system FILE OPTION...: small, with a journal, read-only after the first error, and the same bytes each time.
make_file_system() {
  local file=$1
  shift
  E2FSPROGS_FAKE_TIME=1 mke2fs -q -F -t ext4 -b 4096 -I 256 -N 64 -m 0 -J size=4 -e remount-ro -L ebbdata -O ^resize_inode \
    -U 0ebb0ebb-0ebb-4ebb-8ebb-0ebb0ebb0ebb -E hash_seed=0ebb0ebb-0ebb-4ebb-8ebb-0ebb0ebb0ebb,root_owner=0:0,lazy_itable_init=0 \
    "$@" "$file"
}

# As cloud images are: GPT, with GRUB for BIOS in a partition of its own, for UEFI in a FAT one, and kernel and initrd in the
# third, which is also where the witness writes.
make_boot_disk() {
  local disk=$work/boot.raw bios=2048 efi=4096 data=36864 end=200704 root=$work/boot-root
  local loads=(part_gpt ext2 linux normal)
  truncate -s $(((end + 2048) * 512)) "$disk"
  sfdisk -q "$disk" <<END
label: gpt
label-id: 0EBB0EBB-0EBB-4EBB-8EBB-0EBB0EBB0EBB
start=$bios, size=$((efi - bios)), type=21686148-6449-6E6F-744E-656564454649, uuid=0EBB0EBB-0EBB-4EBB-8EBB-0EBB0EBB0001
start=$efi, size=$((data - efi)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=0EBB0EBB-0EBB-4EBB-8EBB-0EBB0EBB0002
start=$data, size=$((end - data)), type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=0EBB0EBB-0EBB-4EBB-8EBB-0EBB0EBB0003
END
  mkdir -p "$root/boot/grub"
  cp "$work"/kernel/boot/vmlinuz-* "$root/boot/vmlinuz"
  cp "$work/initrd.cpio" "$root/boot/initrd.cpio"
  printf 'linux /boot/vmlinuz %s witness.disk=vda3\ninitrd /boot/initrd.cpio\nboot\n' "$cmdline" >"$root/boot/grub/grub.cfg"
  find "$root" -exec touch -h -d @0 {} +
  truncate -s $(((end - data) * 512)) "$work/data.ext4"
  make_file_system "$work/data.ext4" -d "$root"

  grub-mkimage -O x86_64-efi -p '(hd0,gpt3)/boot/grub' -o "$work/BOOTX64.EFI" "${loads[@]}"
  truncate -s $(((data - efi) * 512)) "$work/efi.fat"
  mformat -i "$work/efi.fat" -N 0ebb0ebb ::
  mmd -i "$work/efi.fat" ::/EFI ::/EFI/BOOT
  touch -d @315532800 "$work/BOOTX64.EFI"
  mcopy -m -i "$work/efi.fat" "$work/BOOTX64.EFI" ::/EFI/BOOT/

  grub-mkimage -O i386-pc -p '(hd0,gpt3)/boot/grub' -o "$work/core.img" biosdisk "${loads[@]}"
  python3 "$here/install-grub.py" "$disk" /usr/lib/grub/i386-pc/boot.img "$work/core.img" "$bios"
  dd if="$work/efi.fat" of="$disk" bs=512 seek="$efi" conv=notrunc,sparse status=none
  dd if="$work/data.ext4" of="$disk" bs=512 seek="$data" conv=notrunc,sparse status=none
}

# Each file appears whole; the key comes last, so an interrupted run is repeated.
publish() {
  local file
  rm -f "$out/.key"
  for file in "${outputs[@]}"; do mv -f "$work/$file" "$out/$file"; done
  echo "$1" >"$work/.key"
  mv -f "$work/.key" "$out/.key"
}

main "$@"
