#!/usr/bin/env bash
# Forks per second of `cgauge-workload fork-rate` and of `stress-ng --fork`, side
# by side in one guest, and their ratio. Needs qemu-system-x86_64, stress-ng and
# a static busybox (BUSYBOX=PATH), and a kernel that `cargo xtask kernels fetch
# debian:6.12` has fetched. The guest's clock counts instructions, so the figures
# are the same in every run.
set -euo pipefail
cd "$(dirname "$0")/../.."
busybox=${BUSYBOX:-$(command -v busybox)}
kernel=${KERNEL:-${XDG_CACHE_HOME:-$HOME/.cache}/cgauge/kernels/debian-6.12/vmlinuz}
RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --quiet --profile guest \
    --target x86_64-unknown-linux-gnu -p cgauge-workloads

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run}
cp "$busybox" "$root/bin/busybox"
cp target/x86_64-unknown-linux-gnu/guest/cgauge-workload "$root/bin/"
for file in "$(command -v stress-ng)" $(ldd "$(command -v stress-ng)" | grep -o '/[^ ]*'); do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
done
cat > "$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
cd /tmp
for round in 1 2 3; do
    stress-ng --fork 1 --fork-ops 2000 --metrics 2>&1 | /bin/busybox grep ' fork  *[0-9]'
    cgauge-workload fork-rate --mechanism fork --forks 2000 --for-ms 60000
done
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$root.cpio"
trap 'rm -rf "$root" "$root.cpio"' EXIT
qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -serial stdio \
    -M microvm,rtc=on -accel tcg -icount shift=3,sleep=off,align=off \
    -rtc clock=vm,base=2026-01-01 -seed 42 -cpu max,-rdrand,-rdseed -m 1024 \
    -kernel "$kernel" -initrd "$root.cpio" \
    -append "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=1000000 nokaslr norandmaps PATH=/bin:/usr/bin" |
    tee /dev/stderr |
    awk '/ fork /{for (i = 1; i <= NF; i++) if ($i == "fork") theirs[++n] = $(i + 5)}
         match($0, /"forks_per_second":[0-9.]+/){ours[++m] = substr($0, RSTART + 19, RLENGTH - 19)}
         END{for (i = 1; i <= n; i++) printf "round %d: %.0f against %.0f forks/s, ratio %.2f\n", i, ours[i], theirs[i], ours[i] / theirs[i]}'
