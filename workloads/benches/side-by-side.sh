#!/usr/bin/env bash
# `cgauge-workload` beside what one would pick instead, in one guest, one after the
# other, as ratios: forks per second against `stress-ng --fork`, pages touched per
# second against `stress-ng --vm`, direct reads of 4 KiB per second against fio with
# the same engine and depth, from a null_blk that answers at once. Needs
# qemu-system-x86_64, stress-ng, fio, xz, a static busybox (BUSYBOX=PATH), and a
# kernel that `cargo xtask kernels fetch debian:6.12` has fetched. The guest's clock
# counts instructions, so the figures are the same in every run. ROUNDS=N rounds.
set -euo pipefail
cd "$(dirname "$0")/../.."
busybox=${BUSYBOX:-$(command -v busybox)}
fetched=${FETCHED:-${XDG_CACHE_HOME:-$HOME/.cache}/cgauge/kernels/debian-6.12}
RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --quiet --profile guest \
    --target x86_64-unknown-linux-gnu -p cgauge-workloads

root=$(mktemp -d)
trap 'rm -rf "$root" "$root.cpio"' EXIT
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run}
cp "$busybox" "$root/bin/busybox"
cp target/x86_64-unknown-linux-gnu/guest/cgauge-workload "$root/bin/"
for program in stress-ng fio; do
    for file in "$(command -v $program)" $(ldd "$(command -v $program)" | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
done
for module in fs/configfs/configfs drivers/block/null_blk/null_blk; do
    xz -dc "$fetched/modules/kernel/$module.ko.xz" > "$root/$(basename $module).ko"
done
cat > "$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /configfs.ko
/bin/busybox insmod /null_blk.ko nr_devices=1 queue_mode=2 irqmode=0 gb=1
cd /tmp
faults() { /bin/busybox awk '/^pgfault /{print \$2}' /proc/vmstat; }
clock() { /bin/busybox awk '/^now at/{print \$3}' /proc/timer_list; }
for round in \$(/bin/busybox seq ${ROUNDS:-3}); do
    echo "theirs fork \$(stress-ng --fork 1 --fork-ops 2000 --metrics 2>&1 | /bin/busybox awk '{for (i = 1; i <= NF; i++) if (\$i == "fork" && \$(i + 1) == 2000) print \$(i + 5)}')"
    echo "ours fork \$(cgauge-workload fork-rate --mechanism fork --forks 2000 --for-ms 60000 | /bin/busybox grep -o '"forks_per_second":[0-9.]*' | /bin/busybox cut -d: -f2)"
    was=\$(faults); at=\$(clock)
    stress-ng --vm 1 --vm-bytes 64M --vm-method write64 --vm-ops 64 > /dev/null 2>&1
    echo "theirs page \$(/bin/busybox awk "BEGIN{print (\$(faults) - \$was) * 1e9 / (\$(clock) - \$at)}")"
    was=\$(faults); at=\$(clock)
    cgauge-workload memory-hog --growth anonymous --file "" --bytes 67108864 --step 67108864 --pace-ms 0 --passes 0 --for-ms 60000 < /dev/null > /dev/null
    echo "ours page \$(/bin/busybox awk "BEGIN{print (\$(faults) - \$was) * 1e9 / (\$(clock) - \$at)}")"
    for depth in 1 8; do
        engine=psync; [ \$depth = 1 ] || engine=io_uring
        echo "theirs read\$depth \$(fio --name=a --filename=/dev/nullb0 --direct=1 --bs=4k --rw=read --size=64m --ioengine=\$engine --iodepth=\$depth --thread --output-format=terse 2> /dev/null | /bin/busybox grep '^3;' | /bin/busybox cut -d';' -f8)"
        echo "ours read\$depth \$(cgauge-workload block-io --path /dev/nullb0 --operation read --access direct --pattern sequential --block-bytes 4096 --offset-bytes 0 --span-bytes 67108864 --depth \$depth --requests 16384 --rate 0 --seed 1 --window-ms 250 --for-ms 60000 | /bin/busybox awk '{match(\$0, /"requests":[0-9]+/); r = substr(\$0, RSTART + 11, RLENGTH - 11); match(\$0, /"elapsed_ns":[0-9]+/); print r * 1e9 / substr(\$0, RSTART + 13, RLENGTH - 13)}')"
    done
done
/bin/busybox poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) > "$root.cpio"
qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -serial stdio \
    -M microvm,rtc=on -accel tcg -icount shift=3,sleep=off,align=off \
    -rtc clock=vm,base=2026-01-01 -seed 42 -cpu max,-rdrand,-rdseed -m 1536 \
    -kernel "$fetched/vmlinuz" -initrd "$root.cpio" \
    -append "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=1000000 nokaslr norandmaps PATH=/bin:/usr/bin" |
    tr -d '\r' | tee /dev/stderr |
    awk '$1 == "theirs" {theirs[$2] = $3}
         $1 == "ours" {if (theirs[$2] > 0) printf "%s: %.0f against %.0f a second, ratio %.2f\n", $2, $3, theirs[$2], $3 / theirs[$2]}'
