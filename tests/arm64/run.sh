#!/usr/bin/env bash
# Installs the aarch64 wheels in an arm64 root and runs tests/arm64/check.py there under user-mode
# emulation, as a Kunpeng 920 (no bf16, no i8mm). Needs root, qemu-user-static and mmdebstrap.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${1:-$(mktemp -d)}
python=$root/.venv/bin/python
for program in qemu-aarch64-static mmdebstrap unshare unzip; do
  command -v "$program" >/dev/null || {
    echo "arm64: $program is needed: apt-get install qemu-user-static mmdebstrap unzip" >&2; exit 2; }
done
mkdir -p "$work"

[ -f "$work/wheels/SHA256SUMS" ] ||
  "$python" "$root/deploy/offline/wheelhouse.py" --platform aarch64 --output "$work/wheels"
(cd "$work/wheels" && sha256sum --check --quiet SHA256SUMS)
rm -rf "$work/site" && mkdir -p "$work/site"
for wheel in "$work"/wheels/*.whl; do unzip -qo "$wheel" -d "$work/site"; done

[ -d "$work/rootfs/usr" ] || mmdebstrap --quiet --arch=arm64 --variant=extract \
  --include=python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib,libc6,libstdc++6,libgcc-s1,libgomp1,libexpat1,libffi8,libssl3,libbz2-1.0,liblzma5,libreadline8,libsqlite3-0,libuuid1,libdb5.3,libtirpc3,zlib1g,libcrypt1,libncursesw6,libtinfo6,libnsl2 \
  bookworm "$work/rootfs"

[ -f "$work/bundles/expected.json" ] || "$python" "$here/prepare.py" "$work/bundles"

for processor in 0 1; do
  cat <<CPU
processor	: $processor
BogoMIPS	: 200.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma dcpop asimddp asimdfhm
CPU implementer	: 0x48
CPU architecture: 8
CPU variant	: 0x1
CPU part	: 0xd01
CPU revision	: 0

CPU
done > "$work/cpuinfo"

# ONNX Runtime looks for processors in /sys, and falls over the ones of another machine.
cat > "$work/inside.sh" <<'INSIDE'
set -eu
mount -t tmpfs none /sys
mkdir -p /sys/devices/system/cpu
for file in possible present online; do echo 0-1 > /sys/devices/system/cpu/$file; done
mount --bind "$WORK/cpuinfo" /proc/cpuinfo
exec env PYTHONHOME="$WORK/rootfs/usr" PYTHONPATH="$WORK/site" PYTHONDONTWRITEBYTECODE=1 \
  LONGFORM_STATE="$WORK/state" OMP_NUM_THREADS=1 \
  qemu-aarch64-static -cpu max -L "$WORK/rootfs" "$WORK/rootfs/usr/bin/python3.11" "$@"
INSIDE
WORK=$work unshare -m sh "$work/inside.sh" "$here/check.py" "$work/bundles"
