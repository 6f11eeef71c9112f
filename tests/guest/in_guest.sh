#!/usr/bin/env bash
# in_guest.sh SCRIPT: runs SCRIPT as root of an emulated machine (README.md). GUEST_SECONDS: how long it may take (850).
set -euo pipefail
script=$1
for need in qemu-system-x86_64 busybox git ldd setpriv unshare; do
  command -v "$need" >/dev/null || { echo "skipped: $need is not installed"; exit 77; }
done
ls /boot/vmlinuz-*-cloud-amd64 >/dev/null 2>&1 || { echo "skipped: there is no guest kernel (linux-image-cloud-amd64)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,etc,bin,usr/bin,lib64,opt/writ,opt/test,newroot} "$work/out"
# put FILE PLACE: the file without its symbols, and what it is linked with.
put() {
  strip -o "$root/$2" "$1" 2>/dev/null || cp "$1" "$root/$2"
  chmod 755 "$root/$2"
  for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true); do
    [ -e "$root/$library" ] && continue
    mkdir -p "$(dirname "$root/$library")"
    cp -L "$library" "$root/$library"
  done
}
for program in writ writ-launch writ-egress-proxy; do put "$WRIT_BIN/$program" "opt/writ/$program"; done
for program in unshare setpriv; do put "$(command -v $program)" "opt/test/$program"; done
for program in glutton delegate; do put "$WRIT_BIN/$program" "opt/test/$program"; done
put "$(command -v busybox)" usr/bin/busybox
cp "$root/usr/bin/busybox" "$root/bin/sh"
cp /etc/ld.so.cache "$root/etc/"
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
repo=$root/opt/test/repo
git init -q -b main "$repo"
cp "$root/opt/test/glutton" "$repo/"
git -C "$repo" add -A
git -C "$repo" -c user.name=test -c user.email=test@example.com commit -qm first
rm -rf "$repo/.git/hooks"
cp "$script" "$root/opt/test/script"
cat >"$root/init" <<'INIT'
#!/bin/sh
# A root in memory that mounts can be moved from, which an initramfs is not.
/usr/bin/busybox mount -t tmpfs -o mode=0755 root /newroot
for name in bin etc lib lib64 modules opt usr; do [ ! -e /$name ] || /usr/bin/busybox cp -a /$name /newroot/; done
for name in dev proc sys run tmp home root sbin var; do /usr/bin/busybox mkdir -p /newroot/$name; done
/usr/bin/busybox cat >/newroot/opt/init <<'NEXT'
#!/bin/sh
export PATH=/usr/bin:/bin
/usr/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
while read -r module; do insmod "/modules/$module"; done </modules/list
ip link set lo up
echo "the guest is up"
sh /opt/test/script 2>&1
poweroff -f
NEXT
exec /usr/bin/busybox switch_root /newroot /bin/sh /opt/init
INIT
chmod 755 "$root/init"
"$WRIT_BIN/pack_guest" "$root" "$work/out"
truncate -s 16M "$work/out/disk"
# Its time passes with its instructions (icount, which gives it a TSC of 1 GHz): on a busy host it would else measure its timers wrongly
# and sleep for ever.
timeout "${GUEST_SECONDS:-850}" qemu-system-x86_64 -M microvm,x-option-roms=off,rtc=on -accel tcg -icount shift=1,sleep=off -cpu max -m 1536M -smp 1 -nodefaults -no-user-config \
  -display none -no-reboot -global virtio-mmio.force-legacy=false -serial "file:$work/console" \
  -drive "if=none,format=raw,id=disk,file=$work/out/disk" -device virtio-blk-device,drive=disk \
  -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-device,rng=rng \
  -kernel "$work/out/kernel" -initrd "$work/out/initramfs" \
  -append "console=ttyS0 panic=-1 reboot=t quiet tsc_early_khz=1000000 tsc=reliable" &
qemu=$!
trap 'kill "$qemu" 2>/dev/null || true; rm -rf "$work"' EXIT
wait "$qemu" || echo "the monitor ended with $?"
tr -d '\r' <"$work/console"
if grep -q '^FAIL' "$work/console"; then exit 1; fi
tr -d '\r' <"$work/console" | grep -qx done
