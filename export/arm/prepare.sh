#!/usr/bin/env bash
# Makes FOLDER: Debian's Python for aarch64 and the aarch64 build of LiteRT, for `python -m export.arm`.
# Needs debootstrap and qemu-user-static; the packages are unpacked, not installed. About 400 MB.
set -euo pipefail
folder=${1:?usage: export/arm/prepare.sh FOLDER}
[ ! -e "$folder" ] || { echo "$folder exists already" >&2; exit 1; }
litert=$(python -c 'from importlib.metadata import version; print(version("ai-edge-litert"))')
work=$folder.work
trap 'rm -rf "$work"' EXIT

debootstrap --arch=arm64 --foreign --variant=minbase \
  --include=python3.11-minimal,libpython3.11-stdlib,libstdc++6 bookworm "$work/root"
for package in "$work"/root/var/cache/apt/archives/*.deb; do
  dpkg-deb -x "$package" "$work/root"
done
python -m pip download --quiet --dest "$work/wheels" --only-binary :all: --python-version 3.11 \
  --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
  --platform manylinux2014_aarch64 "ai-edge-litert==$litert"
mkdir -p "$work/root/opt/site" "$work/root/proc"
for wheel in "$work"/wheels/*.whl; do
  python -m zipfile -e "$wheel" "$work/root/opt/site"
done
# XNNPACK looks here for the processor; the host's own file makes it crash. qemu reads files below
# the folder first.
for core in 0 1; do
  printf 'processor\t: %s\nBogoMIPS\t: 50.00\n' "$core"
  printf 'Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid '
  printf 'asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\n'
  printf 'CPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
done > "$work/root/proc/cpuinfo"
mv "$work/root" "$folder"
