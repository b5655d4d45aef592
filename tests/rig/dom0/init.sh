# dom0's process 1. The root is read-only, everything that changes lives in memory, so that any number of
# runs can start from one snapshot. Ends in a root shell on the second serial port, which the rig talks to.
# Xen's own directory first: what /usr/sbin has are wrappers that look for it.
XEN=$(echo /usr/lib/xen-4.*)
export PATH=$XEN/bin:/usr/sbin:/usr/bin HOME=/run TERM=dumb
say() { echo "RIG $*" >/dev/console; }

# The stock scripts use process substitution and /dev/stdin; without these they spin.
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm /run/xen /run/xenstored /run/lock
mount -t devpts devpts /dev/pts
for d in /tmp /dev/shm /var/log /var/lib/xen /var/lib/xenstored; do
    mount -t tmpfs tmpfs $d || say "FAILED tmpfs on $d"
done
mkdir -p /var/log/xen /var/lib/xen/save /var/lib/xen/dump
ip link set lo up
mount -t xenfs xenfs /proc/xen || say "FAILED xenfs"

xenstored --pid-file /run/xen/xenstored.pid
for i in $(seq 100); do
    xenstore-read / >/dev/null 2>&1 && break
    sleep 0.1
done
xen-init-dom0 || say "FAILED xen-init-dom0"
xenconsoled --pid-file=/run/xen/xenconsoled.pid --log=none

# Bring what `xl create` opens into memory, so that the snapshot holds it.
# Debian 11 has no package of its own for Xen's device model.
DM=/usr/libexec/xen-qemu-system-i386
[ -e $DM ] || DM=/usr/bin/qemu-system-i386
XL=$(command -v xl)
cat $DM $XL $(ldd $DM $XL | grep -o '/[^ :]* ') $XEN/boot/hvmloader \
    /usr/share/seabios/bios-256k.bin /usr/share/qemu/multiboot_dma.bin >/dev/null
xl info >/dev/null || say "FAILED xl info"
for t in tar dd timeout sync blockdev stat xenstore-write; do
    $t --version >/dev/null 2>&1
done

# The disks of a job are given to the driver when the job starts: their contents and sizes are not those
# of the snapshot.
for d in /sys/bus/virtio/drivers/virtio_blk/virtio*; do
    [ -e "$d/block/vda" ] || echo "${d##*/}" >/sys/bus/virtio/drivers/virtio_blk/unbind
done
# The console belongs to Xen and the guest from here on.
dmesg -n 1
# Open for good, so that nothing that arrives is lost between two users of the port.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 115200 raw -echo
echo "@rig ready" >&3
while :; do
    # With stderr elsewhere bash does not take itself for interactive, and shows no prompt.
    setsid bash <&3 >&3 2>/run/shell.log
done
