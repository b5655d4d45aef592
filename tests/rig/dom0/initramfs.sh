#!/bin/busybox sh
# First program of dom0: loads the modules dom0 needs, mounts the root disk read-only, hands over to init.sh.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /newroot
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do
    $B insmod /modules/$m || $B echo "RIG FAILED insmod $m"
done
for i in $($B seq 50); do
    [ -b /dev/vda ] && break
    $B sleep 0.1
done
$B mount -t ext4 -o ro,noatime /dev/vda /newroot || $B echo "RIG FAILED mount /dev/vda"
$B mount -t tmpfs tmpfs /newroot/run
$B cp /init.sh /attach.sh /newroot/run/
for d in dev proc sys; do
    $B mount --move /$d /newroot/$d
done
exec $B switch_root /newroot /bin/bash /run/init.sh
