# A disk with a cache that loses its power: the guest's first disk becomes a loop device over a file of a file system, and
# what is not flushed is in dom0's memory alone until the file system is shut down.
#   cache.sh start             the file system is on /dev/guest-disk1
#   cache.sh cut <percent> <seed>  drops the cache but for so many of a hundred pages, drawn by the seed; the guest is gone
#                              or paused, and is destroyed
#   cache.sh end               drops the cache, and writes the disk back to where it came from
disk=/mnt/disk.img
attach() {
    mount -t ext4 -o noatime /dev/guest-disk1 /mnt && ln -sf "$(losetup --show -f $disk)" /dev/guest-disk0
}
# Drops the cache. The loop device goes when its last user has closed it.
detach() {
    local loop
    loop=$(readlink /dev/guest-disk0)
    ./dom0 lose-cache $disk "$1" "$2" || return
    # Its own xl destroys one that has ended, at the same time.
    xl destroy guest
    for n in $(seq 100); do
        xl domid guest 2>/dev/null || break
        sleep 0.1
    done
    losetup -d "$loop"
    for n in $(seq 100); do
        [ -z "$(losetup -n -O BACK-FILE "$loop" 2>/dev/null)" ] && umount /mnt && return
        sleep 0.1
    done
    echo "$loop stays in use"
    return 1
}
case $1 in
start)
    # Nothing is written but by a flush, or because the guest wants it written.
    echo 0 >/proc/sys/vm/dirty_writeback_centisecs
    echo 80 >/proc/sys/vm/dirty_ratio
    echo 70 >/proc/sys/vm/dirty_background_ratio
    mount -t ext4 /dev/guest-disk1 /mnt && dd if=/dev/guest-disk0 of=$disk bs=1M status=none && umount /mnt &&
        mv /dev/guest-disk0 /dev/guest-store && attach
    ;;
cut) detach "$2" "$3" && attach ;;
end)
    detach 0 0 && mount -t ext4 /dev/guest-disk1 /mnt &&
        dd if=$disk of=/dev/guest-store bs=1M conv=fsync status=none && umount /mnt && mv -f /dev/guest-store /dev/guest-disk0
    ;;
esac
